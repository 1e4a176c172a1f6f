//! The static model of reachproof: nouns and decisions, without I/O, clock or async.
