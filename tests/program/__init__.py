"""The program's own rules, and its text."""
