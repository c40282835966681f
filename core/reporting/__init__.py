"""Tables, figures, the HTML report, run comparison. It reads run folders and knows nothing above it."""
