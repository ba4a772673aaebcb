//! Several readers of the same records.

use std::rc::Rc;

use super::open::{Reader, Record};
use super::tunnel::TunnelRecord;

/// Each gets to see every record, in this order.
struct Readers(Box<[Rc<dyn Reader>]>);

/// All of these as one; a single one as it is.
pub fn all(mut readers: Vec<Rc<dyn Reader>>) -> Rc<dyn Reader> {
    match readers.pop() {
        Some(only) if readers.is_empty() => only,
        last => {
            readers.extend(last);
            Rc::new(Readers(readers.into()))
        }
    }
}

impl Reader for Readers {
    fn read(&self, record: &Record) {
        for reader in &self.0 {
            reader.read(record);
        }
    }

    fn read_tunnel(&self, record: &TunnelRecord) {
        for reader in &self.0 {
            reader.read_tunnel(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Reader for Silent {
        fn read(&self, _: &Record) {}

        fn read_tunnel(&self, _: &TunnelRecord) {}
    }

    #[test]
    fn one_reader_is_called_without_a_detour() {
        let one: Rc<dyn Reader> = Rc::new(Silent);
        assert!(Rc::ptr_eq(&all(vec![Rc::clone(&one)]), &one));
        assert!(!Rc::ptr_eq(&all(vec![Rc::clone(&one), Rc::clone(&one)]), &one));
    }
}
