"""Tables that families share: towers, and what the configs of OpenAI, transformers, cn_clip and open_clip say."""
