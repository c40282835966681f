"""The device side: preprocessing, label packs, bundles, sources, labelling. No torch, ever."""
