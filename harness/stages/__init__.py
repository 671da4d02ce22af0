"""What `stage=NAME` does: one module, or folder of modules, a stage; `registry` lists them."""
