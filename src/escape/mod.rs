//! One file a target format: how a value from a record is written so that the format cannot be left.
