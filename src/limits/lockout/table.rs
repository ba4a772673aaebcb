//! Where failures are counted: a table of fixed size, in sets of eight places. An address has its place in one set, which a
//! keyed hash chooses, and where the set is full the newcomer takes the place of whoever matters least.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::limits::address::Client;
use crate::limits::policy::Cell;

/// Places of a set. Their tags are one cache line, and their ends another.
const WAYS: usize = 8;
/// Sets that are made together, when the first of them is needed: a page.
const SETS_PER_PAGE: usize = 16;
const PAGES: usize = 1024;

/// An address as the table keeps it, whole: two addresses are never taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(NonZeroU64);

/// Where no /64 is, IPv4 addresses are: IPv6's multicast addresses, from which nobody sends.
const IPV4: u64 = 0xff00 << 48;
/// All multicast addresses; a proxy that is believed might name one.
const MULTICAST: u64 = IPV4 | 1 << 32;

impl Tag {
    /// None for who has no address.
    pub(super) fn of(client: Client) -> Option<Self> {
        let bits = match client {
            Client::V4(address) => IPV4 | u64::from(u32::from_be_bytes(address)),
            Client::V6([0xff, ..]) => MULTICAST,
            Client::V6(network) => u64::from_be_bytes(network),
            Client::Unix => return None,
        };
        // Turned round, so that `::` is not 0, which is a free place.
        NonZeroU64::new(!bits).map(Self)
    }

    pub(super) fn client(self) -> Client {
        let bits = !self.0.get();
        match u32::try_from(bits ^ IPV4) {
            Ok(address) => Client::V4(address.to_be_bytes()),
            Err(_) => Client::V6(bits.to_be_bytes()),
        }
    }
}

/// All places.
pub(super) struct Table {
    pages: Box<[OnceLock<Box<Page>>]>,
    /// A byte of the hash of whoever was last locked out, place by place, a word for each set; 0 where nobody was. Mostly it is
    /// all that a request looks at: it fits the caches where the sets do not. Made when the first is locked out.
    marks: OnceLock<Box<[AtomicU64]>>,
    hasher: RandomState,
}

type Page = [Set; SETS_PER_PAGE];

/// Where an address belongs.
#[derive(Clone, Copy)]
struct Place {
    page: usize,
    set: usize,
    mark: u8,
}

/// Read without a lock, changed under that of `counts`.
#[repr(align(64))]
#[derive(Default)]
struct Set {
    /// 0 = free.
    tags: [AtomicU64; WAYS],
    /// When the last lock-out ends or has ended, nanoseconds of the process's clock; 0 = there was none.
    until: [AtomicU64; WAYS],
    /// How many places have changed hands.
    evictions: AtomicU32,
    counts: Mutex<Counts>,
}

/// What only failures look at.
#[derive(Default)]
struct Counts {
    failures: [Cell; WAYS],
    /// Lock-outs in a row.
    times: [u32; WAYS],
}

/// The place of an address, for as long as it holds the lock of its set.
pub(super) struct Entry<'t> {
    table: &'t Table,
    place: Place,
    set: &'t Set,
    counts: MutexGuard<'t, Counts>,
    way: usize,
}

impl Table {
    pub(super) const BYTES_MAX: usize =
        PAGES * (size_of::<OnceLock<Box<Page>>>() + size_of::<Page>() + SETS_PER_PAGE * 8);

    pub(super) fn new() -> Self {
        let pages = (0..PAGES).map(|_| OnceLock::new()).collect();
        Self { pages, marks: OnceLock::new(), hasher: RandomState::new() }
    }

    /// When the address's last lock-out ends or has ended; 0 where the table knows of none.
    pub(super) fn until(&self, tag: Tag) -> u64 {
        let place = self.place(tag);
        let marks = self.marks.get().map_or(0, |marks| marks[place.word()].load(Ordering::Acquire));
        if !holds(marks, place.mark) {
            return 0;
        }
        self.pages[place.page].get().map_or(0, |page| page[place.set].until(tag, || ()))
    }

    /// The address's place; it gets one if it has none. Then `evicted` is told of an address that is locked out at `now`,
    /// and until when, if it had to give its own.
    pub(super) fn entry(&self, tag: Tag, now: u64, evicted: impl FnOnce(Tag, u64)) -> Entry<'_> {
        let place = self.place(tag);
        let set = &self.pages[place.page].get_or_init(Box::default)[place.set];
        let counts = set.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entry = Entry { table: self, place, set, counts, way: 0 };
        match set.way(tag) {
            Some(way) => entry.way = way,
            None => {
                entry.way = entry.least(now);
                let gone = entry.replace(tag);
                if let Some((tag, until)) = gone.filter(|(_, until)| *until > now) {
                    evicted(tag, until);
                }
            }
        }
        entry
    }

    /// How many are locked out at `now`.
    pub(super) fn locked(&self, now: u64) -> usize {
        let sets = self.pages.iter().filter_map(OnceLock::get).flat_map(|page| &**page);
        sets.flat_map(|set| &set.until).filter(|until| until.load(Ordering::Relaxed) > now).count()
    }

    fn place(&self, tag: Tag) -> Place {
        let hash = self.hasher.hash_one(tag.0);
        let [.., mark] = hash.to_le_bytes();
        let set = hash as usize % (PAGES * SETS_PER_PAGE);
        Place { page: set / SETS_PER_PAGE, set: set % SETS_PER_PAGE, mark: mark.max(1) }
    }
}

impl Place {
    const fn word(self) -> usize {
        self.page * SETS_PER_PAGE + self.set
    }
}

/// One of the eight bytes of `word` is `mark`.
const fn holds(word: u64, mark: u8) -> bool {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // Where it is there is 0 now. A high bit that comes up by subtracting 1 was borrowed, and the first to borrow is a 0.
    let rest = word ^ (LOW * mark as u64);
    rest.wrapping_sub(LOW) & !rest & HIGH != 0
}

impl Set {
    fn way(&self, tag: Tag) -> Option<usize> {
        self.tags.iter().position(|it| it.load(Ordering::Acquire) == tag.0.get())
    }

    /// An end is that of the address if no place has changed hands between its finding and its reading; else it is looked for
    /// again. What happens in between is for tests to say.
    fn until(&self, tag: Tag, mut between: impl FnMut()) -> u64 {
        loop {
            let before = self.evictions.load(Ordering::Acquire);
            let Some(way) = self.way(tag) else { return 0 };
            between();
            let until = self.until[way].load(Ordering::Acquire);
            if self.evictions.load(Ordering::Acquire) == before {
                return until;
            }
        }
    }
}

impl Entry<'_> {
    pub(super) fn until(&self) -> u64 {
        self.set.until[self.way].load(Ordering::Relaxed)
    }

    pub(super) fn times(&self) -> u32 {
        self.counts.times[self.way]
    }

    pub(super) fn failures(&self) -> &Cell {
        &self.counts.failures[self.way]
    }

    /// Until then, for the so-manieth time in a row. Its failures are forgotten.
    pub(super) fn lock_out(&mut self, until: u64, times: u32) {
        let marks = self.table.marks.get_or_init(|| (0..PAGES * SETS_PER_PAGE).map(|_| AtomicU64::new(0)).collect());
        let word = &marks[self.place.word()];
        // Whoever holds the lock of the set is the only one who writes its word.
        let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
        bytes[self.way] = self.place.mark;
        word.store(u64::from_le_bytes(bytes), Ordering::Release);
        self.write(until, times);
    }

    fn write(&mut self, until: u64, times: u32) {
        self.counts.failures[self.way] = Cell::default();
        self.counts.times[self.way] = times;
        self.set.until[self.way].store(until, Ordering::Release);
    }

    /// The place of least account: a free one; then of those not locked out the one that has been quiet for longest; then
    /// the one whose lock-out ends first. Failures move a bucket's arrival forward, more of them further.
    fn least(&self, now: u64) -> usize {
        let account = |way: &usize| {
            let until = self.set.until[*way].load(Ordering::Relaxed);
            let is_free = self.set.tags[*way].load(Ordering::Relaxed) == 0;
            (!is_free, until > now, until.max(self.counts.failures[*way].arrival()))
        };
        (0..WAYS).min_by_key(account).unwrap_or_default()
    }

    /// Gives who had the place, and its end. Readers see it free before it is another's: the end that they read is never
    /// the last one's, nor the next one's.
    fn replace(&mut self, tag: Tag) -> Option<(Tag, u64)> {
        let (set, way) = (self.set, self.way);
        let old = NonZeroU64::new(set.tags[way].swap(0, Ordering::AcqRel)).map(|tag| (Tag(tag), self.until()));
        set.evictions.fetch_add(1, Ordering::AcqRel);
        self.write(0, 0);
        set.tags[way].store(tag.0.get(), Ordering::Release);
        old
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn tag(text: &str) -> Option<Tag> {
        Tag::of(Client::from(text.parse::<IpAddr>().expect("an address")))
    }

    #[test]
    fn a_tag_is_the_whole_client() {
        for address in ["0.0.0.0", "255.255.255.255", "192.0.2.1", "::", "::1", "2001:db8:1:2::1", "fe80::1", "feff::"]
        {
            let client = Client::from(address.parse::<IpAddr>().expect("an address"));
            assert_eq!(Tag::of(client).map(Tag::client), Some(client), "{address}");
        }
        assert_eq!(Tag::of(Client::Unix), None);
        let multicast = tag("ff02::1");
        assert!(
            multicast.is_some() && multicast == tag("ff00::"),
            "nobody sends from there, and many are counted as one"
        );
        assert!(multicast == tag("ffff:ffff:ffff:ffff::"));
        assert!(["0.0.0.1", "255.255.255.255", "::"].iter().all(|other| tag(other) != multicast));
    }

    #[test]
    fn a_mark_is_found_wherever_it_is_and_nowhere_else() {
        for word in [0, 1, 0x8000_0000_0000_0001, 0x0102_0304_0506_0708, 0xfffe_fdfc_8180_7f7e, u64::MAX] {
            for mark in 1..=u8::MAX {
                assert_eq!(holds(word, mark), word.to_le_bytes().contains(&mark), "{word:#x} {mark}");
            }
        }
    }

    #[test]
    fn a_set_is_four_cache_lines_and_the_table_four_mebibytes() {
        assert_eq!((size_of::<Set>(), align_of::<Set>(), size_of::<Page>()), (256, 64, 4096));
        assert_eq!(Table::BYTES_MAX, (4 << 20) + (128 << 10) + (16 << 10));
        assert_eq!(PAGES * SETS_PER_PAGE * WAYS, 131_072);
    }

    #[test]
    fn a_full_set_gives_up_who_matters_least() {
        let table = Table::new();
        let tags = table.neighbours(WAYS + 5);
        // Locked out until 1000, …, 4000, until 50 and 60, and counted: whoever failed last, or most often, matters most.
        for (tag, until) in tags.iter().zip([3000, 1000, 4000, 2000, 60, 50]) {
            table.entry(*tag, 10, |_, _| panic!("there is room")).lock_out(until, 1);
        }
        for (tag, cost) in tags[6..8].iter().zip([7000, 5500]) {
            let mut entry = table.entry(*tag, 10, |_, _| panic!("there is room"));
            entry.counts.failures[entry.way] = Cell::at(cost);
        }
        let mut gone = Vec::new();
        for newcomer in &tags[8..] {
            let before: Vec<Tag> = tags.iter().copied().filter(|tag| table.knows(*tag)).collect();
            let mut told = None;
            table.entry(*newcomer, 100, |tag, until| told = Some((tag, until))).lock_out(9000, 1);
            let evicted = before.into_iter().find(|tag| !table.knows(*tag)).expect("the set is full");
            assert!(told.is_none_or(|(tag, _)| tag == evicted));
            gone.push((evicted, told.map(|(_, until)| until)));
        }
        assert_eq!(gone, [(tags[5], None), (tags[4], None), (tags[7], None), (tags[6], None), (tags[1], Some(1000))]);
        assert_eq!(tags.iter().filter(|tag| table.knows(**tag)).count(), WAYS);
        assert_eq!(table.until(tags[1]), 0, "who is forgotten has no end");
    }

    #[test]
    fn no_reader_takes_the_end_of_another_for_its_own() {
        let table = Table::new();
        let tags = table.neighbours(WAYS + 1);
        let (clean, others) = tags.split_at(1);
        let fail = |tag: Tag, until: u64| table.entry(tag, 1, |_, _| ()).lock_out(until, 1);
        let set = |tag| &table.pages[7].get().expect("it was needed")[table.place(tag).set];
        for back_again in [false, true] {
            fail(clean[0], 0);
            let mut times = 0;
            let until = set(clean[0]).until(clean[0], || {
                times += 1;
                // Found once; then driven out by others that are all locked out, perhaps to come back.
                others.iter().filter(|_| times == 1).for_each(|tag| fail(*tag, 1_000));
                if back_again && times == 1 {
                    fail(clean[0], 0);
                }
            });
            assert_eq!((until, times), (0, if back_again { 2 } else { 1 }));
        }
    }

    #[test]
    fn readers_beside_evictions_never_take_the_end_of_another_for_their_own() {
        let table = Table::new();
        let tags = table.neighbours(WAYS + 1);
        let (clean, others) = tags.split_at(1);
        table.entry(clean[0], 1, |_, _| ());
        let set = &table.pages[7].get().expect("it was needed")[table.place(clean[0]).set];
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(set.until(clean[0], || ()), 0);
                }
            });
            for until in 1_000..11_000 {
                table.entry(clean[0], 1, |_, _| ());
                others.iter().for_each(|tag| table.entry(*tag, 1, |_, _| ()).lock_out(until, 1));
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    impl Table {
        /// Addresses that all have their places in one set.
        pub(in super::super) fn neighbours(&self, count: usize) -> Vec<Tag> {
            let tags = (0..u32::MAX).filter_map(|n| Tag::of(Client::V4(n.to_be_bytes())));
            let is_there = |place: Place| (place.page, place.set) == (7, 7);
            tags.filter(|tag| is_there(self.place(*tag))).take(count).collect()
        }

        /// An empty one in which all have the same places.
        pub(in super::super) fn alike(&self) -> Self {
            Self { hasher: self.hasher.clone(), ..Self::new() }
        }

        fn knows(&self, tag: Tag) -> bool {
            let place = self.place(tag);
            self.pages[place.page].get().is_some_and(|page| page[place.set].way(tag).is_some())
        }
    }
}
