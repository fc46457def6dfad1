"""Tables shared by families: towers, and readers of OpenAI's, transformers', cn_clip's and open_clip's configs."""
