//! The client against a small repository that tests bend.
