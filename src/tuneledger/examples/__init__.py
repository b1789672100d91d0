"""Records in the shape that providers hand out, written for demonstrations and tests."""
