"""Children's stories and talk about them, made from a grammar: the text of smelt's own model."""
