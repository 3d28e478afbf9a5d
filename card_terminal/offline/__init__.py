"""Starting while the server is away: the signed list, the rules, the card's proof, and what was used of it."""
