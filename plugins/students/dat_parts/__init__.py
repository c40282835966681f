"""Parts of the student `dat`: three attentions, blocks, embeddings, stages and the table of variants."""
