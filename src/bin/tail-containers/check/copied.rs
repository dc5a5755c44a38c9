//! Containers of which several folders are listed: the one that is read, and the others.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fluent_bit_container_logs::runtime::copied::{choose, is_same_folder, State, Written};
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::{Found, Listing, Runtime};

use super::Finding;

/// A runtime, its root, and what that lists.
type Listed = (Arc<dyn Runtime>, PathBuf, io::Result<Listing>);

/// A folder of a container: the index of its root, the index in the list of that, and when it was
/// written.
struct Folder {
    root: usize,
    index: usize,
    found: Found,
    state: State,
}

/// Leaves, of each container, the folder that is read, and names the others.
pub fn keep_one_of_each(listed: &mut [Listed], findings: &mut Vec<Finding>) {
    let mut of_each: HashMap<ContainerId, Vec<(usize, usize)>> = HashMap::new();
    for (root, (_, _, listing)) in listed.iter().enumerate() {
        let containers = listing.iter().flat_map(|listing| &listing.containers);
        for (index, found) in containers.enumerate() {
            of_each.entry(found.id).or_default().push((root, index));
        }
    }
    of_each.retain(|_, places| places.len() > 1);
    let mut several: Vec<_> = of_each.into_iter().collect();
    several.sort_by_key(|(id, _)| *id.bytes());
    let mut unread = Vec::new();
    for (_, places) in several {
        let mut folders: Vec<Folder> = Vec::new();
        for (root, index) in places {
            let (runtime, _, listing) = &listed[root];
            let Some(found) = listing
                .as_ref()
                .ok()
                .and_then(|it| it.containers.get(index))
            else {
                continue;
            };
            if folders
                .iter()
                .any(|known| is_same_folder(&known.found, found))
            {
                unread.push((root, index));
                continue;
            }
            folders.push(Folder {
                root,
                index,
                state: State {
                    written: Written::last(&**runtime, found),
                    has_grown: false,
                },
                found: found.clone(),
            });
        }
        let states: Vec<State> = folders.iter().map(|folder| folder.state).collect();
        let read = folders.swap_remove(choose(&states, None));
        for other in folders {
            findings.push(finding(&listed[read.root].0, &read.found, &other.found));
            unread.push((other.root, other.index));
        }
    }
    unread.sort_unstable();
    for (root, index) in unread.into_iter().rev() {
        if let Ok(listing) = &mut listed[root].2 {
            listing.containers.remove(index);
        }
    }
}

fn finding(runtime: &Arc<dyn Runtime>, read: &Found, other: &Found) -> Finding {
    let name = runtime.metadata(read, 0).map(|metadata| metadata.title());
    let name = name.unwrap_or_else(|_| read.shown_name());
    let parent = |found: &Found| found.origin.parent().unwrap_or(Path::new("")).to_owned();
    let problem = format!(
        "it is in several folders: the one in {}, whose log was written last, is read, and the one in {} is not",
        parent(read).display(),
        parent(other).display()
    );
    let fix =
        "remove the copy, or leave its root out; if its log is written to, reading continues there";
    Finding::minor(name, problem, fix)
}
