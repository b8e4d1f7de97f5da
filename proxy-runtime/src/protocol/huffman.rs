//! The Huffman code of HPACK and QPACK ([`HUFFMAN_CODES`]; RFC 7541 appendix B), which is canonical.

/// The upper ends of the codes of each length (RFC 7541 appendix B), in 32 bits, with that length.
pub const HUFFMAN_CODES: [(u64, u32); 21] = [
    (0x5000_0000, 5),
    (0xb800_0000, 6),
    (0xf800_0000, 7),
    (0xfe00_0000, 8),
    (0xff40_0000, 10),
    (0xffa0_0000, 11),
    (0xffc0_0000, 12),
    (0xfff0_0000, 13),
    (0xfff8_0000, 14),
    (0xfffe_0000, 15),
    (0xfffe_6000, 19),
    (0xfffe_e000, 20),
    (0xffff_4800, 21),
    (0xffff_b000, 22),
    (0xffff_ea00, 23),
    (0xffff_f600, 24),
    (0xffff_f800, 25),
    (0xffff_fbc0, 26),
    (0xffff_fe20, 27),
    (0xffff_fff0, 28),
    (0x1_0000_0000, 30),
];
