"""One module a revision: 0001, 0002, and so on."""
