//! Raw material: class banks read from HDF5, one-hot banks, evaluation files
