"""From one YAML file to validated config and named pieces. Beyond this folder there is no `DictConfig`."""
