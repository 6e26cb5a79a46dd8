"""Published facts about each AI model, as dated tables."""
