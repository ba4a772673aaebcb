//! Where one WebSocket frame ends and the next begins (RFC 6455 §5.2): a frame of ours goes between two of the upstream's,
//! never into one.

/// A close frame from a server: "going away" (RFC 6455 §7.4.1, code 1001).
pub(super) const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// How far into a frame a stream has come.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The frame's head, as far as it was seen.
    head: [u8; 14],
    seen: usize,
    payload_left: u64,
}

impl Frames {
    /// Between two frames.
    pub(super) const fn is_between(&self) -> bool {
        self.seen == 0 && self.payload_left == 0
    }

    /// Follows the stream over `bytes`.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.payload_left > 0 {
                let skip = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(rest.len());
                self.payload_left -= skip as u64;
                rest = &rest[skip..];
                continue;
            }
            self.head[self.seen] = rest[0];
            self.seen += 1;
            rest = &rest[1..];
            if self.seen == self.head_length() {
                self.payload_left = self.payload_length();
                self.seen = 0;
            }
        }
    }

    /// Of the head that is being read, as far as it tells.
    fn head_length(&self) -> usize {
        if self.seen < 2 {
            return 2;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        mask + match self.head[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn payload_length(&self) -> u64 {
        let extended = |bytes: &[u8]| bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        match self.head[1] & 0x7f {
            126 => extended(&self.head[2..4]),
            127 => extended(&self.head[2..10]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let mut wire = vec![0x81, 3, b'a', b'b', b'c', 0x89, 0];
        let mut ends = vec![0, 5, 7];
        wire.extend([0x82, 126, 1, 0]);
        wire.extend([0; 256]);
        ends.push(wire.len());
        wire.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        wire.extend(vec![0; 65536]);
        ends.push(wire.len());
        wire.extend([0x81, 0x81, 1, 2, 3, 4, 5]);
        ends.push(wire.len());
        for step in [1, 2, 3, 7, 1000, wire.len()] {
            let (mut frames, mut at) = (Frames::default(), 0);
            for piece in wire.chunks(step) {
                assert_eq!(frames.is_between(), ends.contains(&at), "at {at} by {step}");
                frames.follow(piece);
                at += piece.len();
            }
            assert!(frames.is_between());
        }
    }
}
