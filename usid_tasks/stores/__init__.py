"""Output formats: one module each, all written from the same tree."""
