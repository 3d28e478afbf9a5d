"""Real power traces with reference runs (ODbL 1.0; the attribution is in manifest.json and goes with every copy)."""
