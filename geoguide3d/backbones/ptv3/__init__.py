"""Point Transformer V3 as a frozen encoder: Sonata, and Concerto as a configuration of it."""
