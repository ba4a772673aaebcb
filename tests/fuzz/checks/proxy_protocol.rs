//! What holds of every header: it is found wherever the bytes are cut, and never changes by what follows.

use keyward::edge::proxy_protocol::{Read, read};

pub(crate) fn check(data: &[u8]) {
    match read(data) {
        Read::Partial => {}
        Read::Header { length, source } => {
            assert!((1..=data.len()).contains(&length));
            assert_eq!(read(&data[..length]), Read::Header { length, source });
            for cut in 0..length {
                assert_eq!(read(&data[..cut]), Read::Partial, "{cut} of {length}");
            }
        }
        Read::Invalid => {
            let more = [data, b"\r\n"].concat();
            assert_eq!(read(&more), Read::Invalid);
        }
    }
}
