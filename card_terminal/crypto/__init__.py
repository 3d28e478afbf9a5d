"""Card cryptography, pure: CMAC, key diversification, secure dynamic messages; checked by published vectors."""
