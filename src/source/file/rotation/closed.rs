//! Files of a log that are closed between two reads: opened again where they are now, or searched for as
//! after a restart.

use std::io;

use crate::delivery::checkpoint::ContainerCheckpoint;
use crate::source::file::feed::Feed;
use crate::source::file::open_files::OpenFiles;
use crate::source::file::rotation::{Rotation, Start};

impl Rotation {
    /// Opens the closed files again, under whatever names they have. Returns `false` if one of them has
    /// none in its folder any more.
    pub fn open_again(&mut self, feed: &Feed) -> io::Result<bool> {
        let mut listed = None;
        for index in 0..self.files.open.len() {
            let file = &mut self.files.open[index];
            if file.open_again()? {
                continue;
            }
            let id = file.id;
            if listed.is_none() {
                listed = Some(self.list_copies(feed)?);
            }
            let renamed = listed.iter().flatten().find(|file| file.id == id);
            let Some(renamed) = renamed else {
                return Ok(false);
            };
            if !self.files.open[index].open_again_at(&renamed.path)? {
                // Its name has changed since.
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        Ok(true)
    }

    /// None of the files is read on; where reading resumes is to be found out. `are_read` says that
    /// nothing in them is unread.
    pub fn resume_at(&mut self, saved: ContainerCheckpoint, are_read: bool) {
        let number = self.files.next_number;
        self.files = OpenFiles::default();
        self.files.next_number = number;
        self.search.end();
        self.start_at(Start::Saved(saved));
        self.is_start_read = are_read;
    }
}
