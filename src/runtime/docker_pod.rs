//! The pod of a Docker container below a kubelet (cri-dockerd, dockershim), by its labels.

use std::collections::BTreeMap;

use crate::runtime::id::ContainerId;
use crate::runtime::Pod;

/// Returns the container's name in its pod, and the pod. Anybody who writes an image can set the
/// labels, but not the container's name, which must agree with them:
/// `k8s_<container>_<pod>_<namespace>_…`.
pub(super) fn pod_of(
    name: &str,
    labels: &BTreeMap<String, String>,
    id: Option<ContainerId>,
) -> Option<(String, Pod)> {
    let label = |key: &str| labels.get(&format!("io.kubernetes.{key}"));
    let container = label("container.name")?;
    let (pod, namespace) = (label("pod.name")?, label("pod.namespace")?);
    if !name.starts_with(&format!("k8s_{container}_{pod}_{namespace}_")) {
        return None;
    }
    let restarts = labels.get("annotation.io.kubernetes.container.restartCount");
    let pod = Pod {
        namespace: namespace.to_owned(),
        name: pod.to_owned(),
        uid: label("pod.uid").cloned().unwrap_or_default(),
        container_id: id,
        restart_count: restarts
            .and_then(|count| count.parse().ok())
            .unwrap_or_default(),
        is_complete: true,
    };
    Some((container.to_owned(), pod))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_the_pod_if_the_name_agrees() {
        let labels = [
            ("io.kubernetes.container.name", "app"),
            ("io.kubernetes.pod.name", "web-1"),
            ("io.kubernetes.pod.namespace", "shop"),
            ("io.kubernetes.pod.uid", "b0e7a1de"),
            ("annotation.io.kubernetes.container.restartCount", "3"),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = BTreeMap::from(labels);
        let pod_of = |name: &str| pod_of(name, &labels, None);
        let (name, pod) = pod_of("k8s_app_web-1_shop_b0e7a1de_3").unwrap();
        let told = (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str());
        assert_eq!(
            (name.as_str(), told),
            ("app", ("shop", "web-1", "b0e7a1de"))
        );
        assert_eq!(pod.restart_count, 3);
        for name in ["web", "k8s_app_web-1_kube-system_b0e7a1de_3", "k8s_app"] {
            assert_eq!(pod_of(name), None, "{name}");
        }
        assert_eq!(
            super::pod_of("k8s_app_web-1_shop_x_0", &BTreeMap::new(), None),
            None
        );
    }
}
