"""Label names, their texts, and images that carry them: from a list of names to a label pack and its accuracy."""
