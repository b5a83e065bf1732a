"""Steps and streams of a model in compiled code: what a layer must say, what is checked, and how it is called."""
