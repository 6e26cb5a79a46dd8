"""Pictures to edit: from whatever people hand in to what can be sent, again and again."""
