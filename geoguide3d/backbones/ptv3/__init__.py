"""Point Transformer V3 as a frozen encoder: Sonata, Concerto and Utonia."""
