"""Two traces side by side: the first difference, without what is only read ahead or loaded late."""
