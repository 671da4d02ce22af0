"""The records of a store as files: their schemas, their names, reading one."""
