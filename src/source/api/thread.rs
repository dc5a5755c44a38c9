//! The Docker thread: executes commands, and runs a task for each followed container and one
//! for the daemon's events and lists. When it ends, so do all tasks, wherever they wait.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet, LocalSet};

use crate::config::socket::DockerSocket;
use crate::runtime::id::ContainerId;
use crate::source::api::bursts::Bursts;
use crate::source::api::context::{Context, Follow};
use crate::source::api::daemon_events::watch_events;
use crate::source::api::follower::follow;
use crate::source::api::inspections::Inspections;
use crate::source::api::relist::relist;
use crate::source::api::requests::RequestError;
use crate::source::api::{Inspected, StreamEnd, StreamSink};
use crate::threads::{panic_text, EndThread, OwnedThread};

/// Name of the thread.
const NAME: &str = "clogs-docker";

/// A task that panicked (a bug) is restarted after this time.
const PANIC_PAUSE: Duration = Duration::from_secs(10);

type Answer<T> = Box<dyn FnOnce(Result<T, String>) + Send>;

enum Command {
    Follow { id: ContainerId, ends: bool },
    Unfollow(ContainerId),
    Inspect(ContainerId, Answer<Inspected>),
    List(Answer<Vec<ContainerId>>),
    Stop,
}

/// The handle of the thread. All calls return at once, except for those that end it.
#[derive(Debug)]
pub struct DockerThread {
    commands: UnboundedSender<Command>,
    space: Arc<Notify>,
    thread: OwnedThread,
}

impl DockerThread {
    /// Starts the thread, which inherits the caller's signal mask. It does not connect before
    /// it gets a command that needs it.
    pub fn start(socket: DockerSocket, sink: Box<dyn StreamSink>) -> io::Result<DockerThread> {
        let bursts = Arc::new(Bursts::default());
        let bursts_of_runtime = Arc::clone(&bursts);
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_park(move || bursts_of_runtime.pause())
            .build()?;
        let (commands, received) = unbounded_channel();
        let space = Arc::new(Notify::new());
        let space_of_thread = Arc::clone(&space);
        let thread = OwnedThread::spawn(NAME, move || {
            let DockerSocket::Unix(path) = socket;
            let context = Context::new(path, sink, space_of_thread, bursts);
            run(&runtime, Rc::new(context), received)
        })?;
        Ok(DockerThread {
            commands,
            space,
            thread,
        })
    }

    /// Follows a container, across its restarts and the daemon's. Does nothing if it is
    /// followed already.
    pub fn follow(&self, id: ContainerId) {
        self.send(Command::Follow { id, ends: false });
    }

    /// Reads what a container has logged so far, in one attempt. [`StreamSink::ended`] is called
    /// once, and the container is dropped then.
    pub fn read_existing(&self, id: ContainerId) {
        self.send(Command::Follow { id, ends: true });
    }

    /// Stops following a container. Entries may still arrive until the thread has handled
    /// this.
    pub fn unfollow(&self, id: ContainerId) {
        self.send(Command::Unfollow(id));
    }

    /// Tells the thread that there is space again.
    pub fn wake(&self) {
        self.space.notify_one();
    }

    /// Requests the metadata of a container. `answer` is called on the thread, or dropped: if
    /// the thread ends first, if an earlier request for this container is still pending, or if
    /// one timed out recently.
    pub fn inspect(
        &self,
        id: ContainerId,
        answer: impl FnOnce(Result<Inspected, String>) + Send + 'static,
    ) {
        self.send(Command::Inspect(id, Box::new(answer)));
    }

    /// Requests a list of all containers, running or not. `answer` is called on the thread, or
    /// dropped: if the thread ends first, or if a list is in flight.
    pub fn list(&self, answer: impl FnOnce(Result<Vec<ContainerId>, String>) + Send + 'static) {
        self.send(Command::List(Box::new(answer)));
    }

    /// Ends the thread and waits for it (I5), as dropping this does.
    pub fn stop(self) {}

    fn send(&self, command: Command) {
        // Fails only if the thread has ended, which it has reported.
        let _ = self.commands.send(command);
    }
}

impl Drop for DockerThread {
    fn drop(&mut self) {
        self.send(Command::Stop);
        self.thread.join();
    }
}

impl EndThread for DockerThread {
    fn end(&self, patience: Duration) -> bool {
        self.send(Command::Stop);
        self.thread.ends_within(patience)
    }
}

fn run(runtime: &Runtime, context: Rc<Context>, commands: UnboundedReceiver<Command>) {
    let serve = || {
        let mut hub = Hub::new(Rc::clone(&context));
        LocalSet::new().block_on(runtime, hub.serve(commands));
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(serve)) {
        let reason = format!("the thread {NAME} stopped: {}", panic_text(&*panic));
        // The panic may have come from the sink.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            context.with_sink(|sink| sink.daemon(Err(reason)))
        }));
    }
}

/// The tasks, and what each is for.
struct Hub {
    context: Rc<Context>,
    tasks: JoinSet<()>,
    followers: HashMap<ContainerId, AbortHandle>,
    /// The container that a task follows; requests are not included.
    followed_by: HashMap<Id, ContainerId>,
    /// Runs while anything is followed.
    watcher: Option<AbortHandle>,
    inspections: Rc<RefCell<Inspections<Answer<Inspected>>>>,
    /// Set while a list requested by the reader is in flight.
    is_listing: Rc<Cell<bool>>,
}

/// Runs a closure when a task ends, however it ends.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Hub {
    fn new(context: Rc<Context>) -> Hub {
        Hub {
            context,
            tasks: JoinSet::new(),
            followers: HashMap::new(),
            followed_by: HashMap::new(),
            watcher: None,
            inspections: Rc::default(),
            is_listing: Rc::default(),
        }
    }

    async fn serve(&mut self, mut commands: UnboundedReceiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop) | None => return,
                    Some(command) => self.execute(command),
                },
                Some(done) = self.tasks.join_next_with_id() => self.reap(done),
            }
            self.begin_inspections();
            self.watch_if_needed();
        }
    }

    fn execute(&mut self, command: Command) {
        let context = Rc::clone(&self.context);
        match command {
            Command::Follow { id, ends } => {
                if !context.follows.borrow().contains_key(&id) {
                    self.start_follower(id, Rc::new(Follow::new(ends)), Duration::ZERO);
                }
            }
            Command::Unfollow(id) => {
                context.follows.borrow_mut().remove(&id);
                if let Some(task) = self.followers.remove(&id) {
                    self.followed_by.remove(&task.id());
                    task.abort();
                }
            }
            Command::Inspect(id, answer) => {
                self.inspections
                    .borrow_mut()
                    .ask(id, answer, Instant::now())
            }
            // The one in flight answers soon, and the next look requests another.
            Command::List(_) if self.is_listing.get() => {}
            Command::List(answer) => {
                let is_listing = Rc::clone(&self.is_listing);
                is_listing.set(true);
                let at_end = AtEnd(move || is_listing.set(false));
                self.tasks.spawn_local(async move {
                    let _at_end = at_end;
                    let listed = context.requests.list().await;
                    let ids = listed.map(|listed| listed.iter().map(|it| it.id).collect());
                    answer(ids.map_err(|error| error.to_string()));
                });
            }
            Command::Stop => {}
        }
    }

    /// Starts the inspections that wait, up to the limit in flight.
    fn begin_inspections(&mut self) {
        loop {
            let Some((id, answer)) = self.inspections.borrow_mut().begin() else {
                return;
            };
            let (context, inspections) = (Rc::clone(&self.context), Rc::clone(&self.inspections));
            let is_late = Rc::new(Cell::new(false));
            let was_late = Rc::clone(&is_late);
            let at_end = AtEnd(move || {
                inspections
                    .borrow_mut()
                    .end(&id, was_late.get(), Instant::now())
            });
            self.tasks.spawn_local(async move {
                let at_end = at_end;
                let inspected = context.requests.inspect(&id).await;
                is_late.set(matches!(inspected, Err(RequestError::NoAnswer(_))));
                drop(at_end);
                answer(inspected.map_err(|error| error.to_string()));
            });
        }
    }

    fn start_follower(&mut self, id: ContainerId, state: Rc<Follow>, wait: Duration) {
        self.context
            .follows
            .borrow_mut()
            .insert(id, Rc::clone(&state));
        let task = self
            .tasks
            .spawn_local(follow(Rc::clone(&self.context), id, state, wait));
        self.followed_by.insert(task.id(), id);
        self.followers.insert(id, task);
    }

    /// Handles the end of a task. A follower that ended without a panic has removed its
    /// container itself.
    fn reap(&mut self, done: Result<(Id, ()), JoinError>) {
        let (task, panic) = match done {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), error.try_into_panic().ok()),
        };
        let Some(id) = self.followed_by.remove(&task) else {
            return;
        };
        if self
            .followers
            .get(&id)
            .is_some_and(|follower| follower.id() == task)
        {
            self.followers.remove(&id);
        }
        if let Some(panic) = panic {
            let reason = format!("internal error: {}", panic_text(&*panic));
            self.context
                .with_sink(|sink| sink.ended(&id, StreamEnd::Failed(reason)));
            let ends = self.context.is_read_once(&id);
            self.start_follower(id, Rc::new(Follow::new(ends)), PANIC_PAUSE);
        }
    }

    /// Watches the daemon while anything is followed.
    fn watch_if_needed(&mut self) {
        let is_needed = !self.context.follows.borrow().is_empty();
        let is_there = self
            .watcher
            .as_ref()
            .is_some_and(|watcher| !watcher.is_finished());
        if is_needed && !is_there {
            let context = Rc::clone(&self.context);
            context.set_events(false);
            self.watcher = Some(self.tasks.spawn_local(async move {
                tokio::join!(watch_events(&context), relist(&context));
            }));
        } else if !is_needed {
            if let Some(watcher) = self.watcher.take() {
                watcher.abort();
            }
        }
    }
}
