"""What a link or a NAT does to a packet, as pure functions of the packet, the time and a seeded generator.  No I/O and no clock."""
