//! Writes Bolt files for tests, as `go.etcd.io/bbolt` lays them out: two meta pages; small buckets
//! in their values, others in pages of their own, with branches above many leaves.

const PAGE: usize = 4096;
const HEADER: usize = 16;
const ELEMENT: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;

/// A bucket: keys and what they lead to.
pub type Bucket = Vec<(String, Value)>;

/// What a key leads to.
#[derive(Clone, Debug)]
pub enum Value {
    Bytes(Vec<u8>),
    Bucket(Bucket),
}

/// A value of text.
pub fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

/// A bucket of texts.
pub fn texts(pairs: &[(&str, &str)]) -> Value {
    let pairs = pairs.iter();
    Value::Bucket(
        pairs
            .map(|(key, value)| ((*key).to_owned(), text(value)))
            .collect(),
    )
}

/// A file with this root, as this transaction leaves it.
pub fn database(root: &Bucket, transaction: u64) -> Vec<u8> {
    let mut pages = Vec::new();
    let leaves = entries(root, &mut pages);
    let root = tree(leaves, &mut pages);
    let mut file = Vec::new();
    for transaction in [transaction, transaction.saturating_sub(1)] {
        let mut meta = vec![0; HEADER];
        let head = [0xED0C_DAEDu32, 2, PAGE as u32, 0];
        meta.extend(head.map(u32::to_ne_bytes).concat());
        // Root, its sequence, no list of free pages, end of the file.
        let numbers = [
            root,
            0,
            u64::MAX,
            2 + (pages.len() / PAGE) as u64,
            transaction,
        ];
        meta.extend(numbers.map(u64::to_ne_bytes).concat());
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = meta[HEADER..].iter().fold(0xcbf2_9ce4_8422_2325, step);
        meta.extend(hash.to_ne_bytes());
        meta.resize(PAGE, 0);
        file.extend(meta);
    }
    file.extend(pages);
    file
}

/// Key, value and flags of each entry of a leaf.
type Entries = Vec<(Vec<u8>, Vec<u8>, u32)>;

fn entries(bucket: &Bucket, pages: &mut Vec<u8>) -> Entries {
    let mut sorted: Vec<&(String, Value)> = bucket.iter().collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let entry = |(key, value): &(String, Value)| match value {
        Value::Bytes(bytes) => (key.clone().into_bytes(), bytes.clone(), 0),
        Value::Bucket(bucket) => (key.clone().into_bytes(), value_of(bucket, pages), 1),
    };
    sorted.into_iter().map(entry).collect()
}

/// The value of a bucket.
fn value_of(bucket: &Bucket, pages: &mut Vec<u8>) -> Vec<u8> {
    let is_flat = bucket
        .iter()
        .all(|(_, value)| matches!(value, Value::Bytes(_)));
    let entries = entries(bucket, pages);
    let in_value = page(0, LEAF, &entries);
    let root = match is_flat && in_value.len() <= PAGE / 4 {
        true => return [vec![0; 16], in_value].concat(),
        false => tree(entries, pages),
    };
    [root.to_ne_bytes(), 0u64.to_ne_bytes()].concat()
}

/// Adds the pages of a bucket; gives the number of the first.
fn tree(entries: Entries, pages: &mut Vec<u8>) -> u64 {
    let mut level = split(entries, LEAF, pages);
    while level.len() > 1 {
        let children = level.into_iter();
        let children = children.map(|(key, number)| (key, number.to_ne_bytes().to_vec(), 0));
        level = split(children.collect(), BRANCH, pages);
    }
    level.remove(0).1
}

/// Adds pages with these entries; gives first key and number of each.
fn split(entries: Entries, kind: u16, pages: &mut Vec<u8>) -> Vec<(Vec<u8>, u64)> {
    let mut parts: Vec<Entries> = vec![Vec::new()];
    let mut size = HEADER;
    for entry in entries {
        let more = ELEMENT + entry.0.len() + entry.1.len();
        if size + more > PAGE && size > HEADER {
            parts.push(Vec::new());
            size = HEADER;
        }
        size += more;
        parts.last_mut().expect("a part").push(entry);
    }
    let mut numbers = Vec::new();
    for part in parts {
        let number = 2 + (pages.len() / PAGE) as u64;
        let mut page = page(number, kind, &part);
        let overflow = page.len().div_ceil(PAGE) - 1;
        page[12..16].copy_from_slice(&(overflow as u32).to_ne_bytes());
        page.resize((overflow + 1) * PAGE, 0);
        pages.extend(page);
        numbers.push((
            part.first()
                .map(|entry| entry.0.clone())
                .unwrap_or_default(),
            number,
        ));
    }
    numbers
}

fn page(number: u64, kind: u16, entries: &Entries) -> Vec<u8> {
    let mut page = vec![0; HEADER + entries.len() * ELEMENT];
    page[..8].copy_from_slice(&number.to_ne_bytes());
    page[8..10].copy_from_slice(&kind.to_ne_bytes());
    page[10..12].copy_from_slice(&(entries.len() as u16).to_ne_bytes());
    for (index, (key, value, flags)) in entries.iter().enumerate() {
        let start = HEADER + index * ELEMENT;
        let position = (page.len() - start) as u32;
        let (key_size, size) = (key.len() as u32, value.len() as u32);
        let element = match kind {
            // A branch has the number of the page in the element.
            BRANCH => {
                let numbers = [position, key_size].map(u32::to_ne_bytes).concat();
                [numbers, value.clone()].concat()
            }
            _ => [*flags, position, key_size, size]
                .map(u32::to_ne_bytes)
                .concat(),
        };
        page[start..start + ELEMENT].copy_from_slice(&element);
        page.extend_from_slice(key);
        if kind == LEAF {
            page.extend_from_slice(value);
        }
    }
    page
}
