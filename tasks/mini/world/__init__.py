"""The embedded world: its pictures, its words, and how both are drawn."""
