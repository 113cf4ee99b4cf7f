"""The local cloud: the clouds that the program asks for, as real machines in network namespaces of this host."""
