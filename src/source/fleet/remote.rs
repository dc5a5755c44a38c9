//! The containers that an API lists or describes.

use std::collections::HashSet;

use crate::delivery::queue::{Batch, Progress};
use crate::runtime::id::ContainerId;
use crate::runtime::safe_path::SafePath;
use crate::runtime::{Api, Found};
use crate::source::api::streams::News;
use crate::source::fleet::{Fleet, Turn};
use crate::source::roots::Root;

impl Fleet {
    /// Takes what the threads of an API have reported.
    pub fn take_news(&mut self, api: Api, news: News, turn: &mut Turn<'_>) {
        let touched = news.touched.iter().filter_map(|id| self.keys.get(id));
        touched.for_each(|key| turn.schedule.look_into(*key));
        let is_remote = |root: &Root| root.runtime.api() == Some(api) && root.trouble.is_there();
        let remote = self.roots.iter().position(is_remote);
        if let (Some(listed), Some(root)) = (news.listed, remote) {
            self.take_remote(listed, root, turn);
        }
        for (id, metadata, driver) in news.inspected {
            let Some(&key) = self.keys.get(&id) else {
                continue;
            };
            if let Some(container) = self.containers.get_mut(key) {
                let mut around =
                    turn.services
                        .around(key, Some(api), turn.now, turn.schedule.cycle());
                container.inspected(&mut around, metadata, driver);
                turn.schedule.look_into(key);
            }
        }
    }

    /// Adds and removes containers by the API's list, used if the runtime's root cannot be
    /// listed.
    fn take_remote(&mut self, listed: Vec<ContainerId>, root: usize, turn: &mut Turn<'_>) {
        for id in &listed {
            if !self.keys.contains_key(id) && !turn.services.link.is_leaving(id) {
                let dir = self.roots[root].dir.join(id.to_string());
                let found = Found::new(*id, SafePath::from(&dir), dir);
                let key = self.add(root, found, self.is_first_list, turn);
                if let Some(container) = self.containers.get_mut(key) {
                    container.is_remote = true;
                }
            }
        }
        let listed: HashSet<ContainerId> = listed.into_iter().collect();
        self.mark_gone(&listed, turn.schedule, root);
        if std::mem::take(&mut self.is_first_list) {
            turn.services.link.push(Batch::progress(Progress::Started));
        }
    }
}
