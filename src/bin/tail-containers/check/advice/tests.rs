use super::*;
use crate::check::remedy::Around;
use fluent_bit_container_logs::runtime::{self, RuntimeChoice};

/// Words of each tool, among them its options of ours.
const WORDS: [(&str, &[&str]); 4] = [
    ("Docker", &["docker", "Docker"]),
    ("Podman", &["podman", "Podman", "k8s-file"]),
    ("Nerdctl", &["nerdctl", "Nerdctl"]),
    ("Pod_Logs", &["kubelet", "crictl", "Pod_Logs"]),
];

/// Every runtime, of root and of users.
fn runtimes() -> Vec<std::sync::Arc<dyn Runtime>> {
    let config = Config::from_lookup(|name| name.ends_with("_Users").then(|| "ada".to_owned()));
    let mut options = config.unwrap().runtimes;
    options.choice = RuntimeChoice::Auto;
    options.machine = "/none".into();
    let runtimes = runtime::all(&options);
    let users = runtimes
        .iter()
        .filter(|it| it.root_option().ends_with("_Users"));
    assert_eq!((users.count(), runtimes.len() >= 7), (3, true));
    runtimes
}

/// Everything that is advised.
fn all(advice: Advice<'_>) -> Vec<String> {
    let config = Config::from_lookup(|_| None).unwrap();
    let root = Path::new("/none/root");
    let errors = [
        io::Error::from(Errno::ACCESS),
        io::Error::from(Errno::MFILE),
        io::Error::from(Errno::NOENT),
        io::Error::from(Errno::IO),
        io::Error::from(Errno::LOOP),
        io::Error::from(io::ErrorKind::Unsupported),
        io::Error::from(io::ErrorKind::InvalidData),
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a symlink, which is not followed here",
        ),
        io::Error::new(io::ErrorKind::InvalidInput, "it has more than 5 containers"),
    ];
    let mut fixes: Vec<String> = errors.iter().map(|error| advice.for_error(error)).collect();
    fixes.extend(errors.iter().map(|error| advice.for_labels(error)));
    for unread in [Unread::DriverNone, Unread::ApiUnavailable, Unread::Missing] {
        fixes.push(advice.for_nowhere(unread));
    }
    for file in [
        "config.v2.json",
        "hostconfig.json",
        "containers.json",
        "log-config.json",
    ] {
        fixes.push(advice.for_damage(&root.join(file)));
    }
    fixes.push(advice.for_missing_root(root, &config));
    fixes
}

#[test]
fn no_advice_names_another_runtime() {
    for runtime in runtimes() {
        let option = runtime.root_option();
        for (around, own) in [
            (Around::Machine, ""),
            (Around::Docker, "docker run"),
            (Around::Podman, "podman run"),
            (Around::Pod, ""),
        ] {
            let place = Place::within(around);
            for fix in all(Advice::of(&place, &*runtime)) {
                assert!(fix.len() > 10, "{option}: {fix}");
                // How this process itself is started in a container.
                let fix = fix.replace(own, "");
                for (other, words) in WORDS.iter().filter(|(tool, _)| !option.starts_with(tool)) {
                    let named = words.iter().find(|word| fix.contains(*word));
                    assert_eq!(named, None, "{option} is told of {other}: {fix}");
                }
            }
        }
    }
}

/// Only root's Docker and Podman have an API that is used.
#[test]
fn what_a_runtime_lacks_is_not_advised() {
    let place = Place::within(Around::Machine);
    for runtime in runtimes() {
        let advice = Advice::of(&place, &*runtime);
        let (option, is_of_users) = (runtime.root_option(), advice.is_of_users);
        let nowhere = advice.for_nowhere(Unread::ApiUnavailable);
        let socket = match option {
            "Docker_Root" => "Docker_Socket",
            "Podman_Root" => "Podman_Socket",
            _ => "create it again",
        };
        let socket = if option == "Pod_Logs" {
            "crictl logs"
        } else {
            socket
        };
        assert!(nowhere.contains(socket), "{option}: {nowhere}");
        assert_eq!(
            nowhere.contains("API"),
            runtime.api().is_some(),
            "{option}: {nowhere}"
        );
        assert!(
            !advice.for_nowhere(Unread::DriverNone).contains("API"),
            "{option}"
        );
        let refused = advice.for_error(&io::ErrorKind::Unsupported.into());
        assert_eq!(
            refused.contains("API"),
            option == "Podman_Root",
            "{option}: {refused}"
        );
        let link = advice.for_error(&Errno::LOOP.into());
        assert_eq!(link.contains("its user"), is_of_users, "{option}: {link}");
        let config = Config::from_lookup(|_| None).unwrap();
        let missing = advice.for_missing_root(Path::new("/none/root"), &config);
        assert!(missing.contains(option), "{option}: {missing}");
    }
}

#[test]
fn a_docker_root_that_is_its_folder_containers_is_told_the_one_above() {
    let machine = tempfile::tempdir().unwrap();
    let place = Place::within(Around::Docker);
    let runtimes = runtimes();
    let of = |option: &str| {
        let runtime = runtimes.iter().find(|it| it.root_option() == option);
        Advice::of(&place, &**runtime.unwrap())
    };
    let root = machine.path().join("containers/containers");
    // Nothing of it is there: it is to be mounted.
    assert_eq!(of("Docker_Root").for_root_below(&root), None);
    std::fs::create_dir(machine.path().join("containers")).unwrap();
    let above = machine.path().display();
    assert_eq!(
        of("Docker_Root").for_root_below(&root),
        Some(format!(
            "give the folder above: --docker-root {above} or Docker_Root {above}"
        ))
    );
    let usual = machine.path().join("containers");
    assert_eq!(of("Docker_Root").for_root_below(&usual), None);
    assert_eq!(of("Podman_Root").for_root_below(&root), None);
}
