//! Gzip of nothing but zeros: 13 bits for every 258 bytes.
//!
//! Written bit by bit (RFC 1951, §3.2.6), so that the tests need no compressor.

/// So many zeros, compressed.
pub(super) fn zeros(count: usize) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff], free: 0 };
    // The last block, with the fixed codes; both numbers begin with their lowest bit.
    bits.push(&[1, 1, 0]);
    let literal_zero = [0, 0, 1, 1, 0, 0, 0, 0];
    let (repeated, single) = ((count - 1) / 258, (count - 1) % 258);
    bits.push(&literal_zero);
    for _ in 0..repeated {
        // 258 bytes, as one byte before.
        bits.push(&[1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    for _ in 0..single {
        bits.push(&literal_zero);
    }
    bits.push(&[0; 7]);
    let mut bytes = bits.bytes;
    bytes.extend_from_slice(&checksum(count).to_le_bytes());
    bytes.extend_from_slice(&(count as u32).to_le_bytes());
    bytes
}

/// CRC-32 of so many zeros.
fn checksum(count: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let zeros = vec![0; 1 << 20];
    let (whole, rest) = (count / zeros.len(), count % zeros.len());
    (0..whole).for_each(|_| hasher.update(&zeros));
    hasher.update(&zeros[..rest]);
    hasher.finalize()
}

/// Bytes that are filled from their lowest bit.
struct Bits {
    bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    fn push(&mut self, bits: &[u8]) {
        for bit in bits {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let place = 8 - self.free;
            let last = self.bytes.last_mut().expect("one was pushed");
            *last |= bit << place;
            self.free -= 1;
        }
    }
}
