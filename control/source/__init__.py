"""Where objects come from: each source gives whole `model.Objects`, at once and after every settled change."""
