//! Files of a log that are closed before their end: deleted ones beyond a limit, and those that
//! cannot be read.

use std::io;

use crate::delivery::link::Link;
use crate::source::file::copies::{archive_of, bytes_behind_archive};
use crate::source::file::feed::Feed;
use crate::source::file::listing;
use crate::source::file::rotation::Rotation;
use crate::source::file::search::Sought;

impl Rotation {
    /// Drops a deleted file that has not been read to its end, unless an archive of it is
    /// found. What its writer has added since that was made is lost, too.
    pub fn drop_held(&mut self, number: u32, feed: &mut Feed, link: &Link, reason: String) {
        let files = &self.files.open;
        let Some(index) = files.iter().position(|file| file.number == number) else {
            return;
        };
        match self.find_archive(index) {
            Ok(Sought::Here(archive)) => {
                let deleted = &self.files.open[index];
                let lost = bytes_behind_archive(deleted, &archive).unwrap_or_default();
                if lost > 0 {
                    let of = feed.assembler.metadata();
                    feed.losses.dropped(link, of, deleted, lost, reason);
                }
                self.files.open[index] = *archive;
                return self.search.end();
            }
            // The next check continues the search.
            Ok(Sought::Unfinished) => return,
            Ok(Sought::Elsewhere) | Err(_) => self.search.end(),
        }
        if index == 0 {
            feed.assembler.note_loss();
            feed.flush_open(self.files.open.front(), link);
        }
        if let Some(dropped) = self.files.drop_file(index) {
            let metadata = feed.assembler.metadata();
            let unread = dropped.unread();
            feed.losses
                .dropped(link, metadata, &dropped, unread, reason);
        }
        if let (0, Some(next)) = (index, self.files.open.front()) {
            feed.progress_to(next, link);
        }
    }

    fn find_archive(&mut self, index: usize) -> io::Result<Sought> {
        let listed = listing::list(&self.log)?;
        if listed.has_changed {
            return Ok(Sought::Unfinished);
        }
        let deleted = &self.files.open[index];
        archive_of(deleted, &listed.files, &self.files, &mut self.search)
    }

    /// Drops a rotated file that cannot be read, which must not block those after it.
    pub fn give_up_front(&mut self, feed: &mut Feed, link: &Link, error: &io::Error) {
        if let Some(front) = self.files.close_front() {
            feed.assembler.file_ended(None);
            feed.assembler.note_loss();
            let unread = front.unread();
            feed.losses
                .unreadable(link, front.path.to_path_buf(), error, unread);
        }
    }
}
