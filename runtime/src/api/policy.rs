//! Who may call what: one table of calls, one of roles. Pure data.
//!
//! Guarantees: a call that is not in [`CALLS`] is open to nobody, so forgetting it shows at once; what a role may do depends
//! on nothing but the role. Which rows it may do it to is in every statement of the store.

use axum::http::Method;

use crate::model::Role;

/// What a call does, as far as roles differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// See who one is.
    KnowOneself,
    /// See the functions that may be used, and their versions.
    ReadCatalogue,
    /// Upload functions, try them, choose the current version, read their logs.
    DevelopFunctions,
    /// Say whose signatures count, and whether uploads must have one.
    GovernSigning,
    /// Say which versions may no longer be chosen.
    RetireVersions,
    /// Have a function say what a setting may be.
    AskFunctions,
    /// See reviews of one's functions, and speak about them; operators see all.
    FollowReviews,
    /// Decide reviews.
    DecideReviews,
    /// See what customers wish for.
    ReadWishes,
    /// See sources, destinations, connections, deliveries, the ledger.
    ReadWorkspace,
    /// Change them, and deliver again.
    ChangeWorkspace,
    /// See one's own workspace; operators see all.
    ReadWorkspaces,
    /// See one's own partner; operators see all.
    ReadPartners,
    /// Make, rename and delete workspaces and partners.
    GovernTenants,
    /// Give, replace and take back keys of one's tenant; operators of all.
    GovernKeys,
    /// Make, see and take back links into one's workspace.
    GovernLinks,
    /// Open a link: whoever has one may, without a key.
    OpenLink,
    /// See who changed what is one's tenant's; operators see all.
    ReadAudit,
    /// See whether the whole audit log is as it was written.
    VerifyAudit,
    /// See and turn the key that secrets are stored with.
    GovernVault,
}

use Action::{
    AskFunctions, ChangeWorkspace, DecideReviews, DevelopFunctions, FollowReviews, GovernKeys, GovernLinks,
    GovernSigning, GovernTenants, GovernVault, KnowOneself, OpenLink, ReadAudit, ReadCatalogue, ReadPartners,
    ReadWishes, ReadWorkspace, ReadWorkspaces, RetireVersions, VerifyAudit,
};
use Role::{Operator, PartnerAdmin, PartnerDeveloper, WorkspaceAdmin, WorkspaceEditor, WorkspaceViewer};

/// Which roles may do it.
pub(super) const fn roles(action: Action) -> &'static [Role] {
    match action {
        KnowOneself | ReadCatalogue | ReadWishes | OpenLink => &Role::ALL,
        DevelopFunctions | FollowReviews => &[Operator, PartnerAdmin, PartnerDeveloper],
        ReadWorkspace | ReadWorkspaces => &[Operator, WorkspaceAdmin, WorkspaceEditor, WorkspaceViewer],
        ChangeWorkspace => &[Operator, WorkspaceAdmin, WorkspaceEditor],
        AskFunctions => &[Operator, PartnerAdmin, PartnerDeveloper, WorkspaceAdmin, WorkspaceEditor],
        ReadPartners => &[Operator, PartnerAdmin, PartnerDeveloper],
        RetireVersions | GovernSigning => &[Operator, PartnerAdmin],
        GovernTenants | GovernVault | VerifyAudit | DecideReviews => &[Operator],
        GovernLinks => &[Operator, WorkspaceAdmin],
        GovernKeys | ReadAudit => &[Operator, PartnerAdmin, WorkspaceAdmin],
    }
}

/// Which roles a role may give to a key.
pub(super) const fn grants(role: Role) -> &'static [Role] {
    match role {
        Operator => &Role::ALL,
        PartnerAdmin => &[PartnerAdmin, PartnerDeveloper],
        WorkspaceAdmin => &[WorkspaceAdmin, WorkspaceEditor, WorkspaceViewer],
        PartnerDeveloper | WorkspaceEditor | WorkspaceViewer => &[],
    }
}

/// Whether a call takes no key.
pub(super) fn is_open(action: Action) -> bool {
    action == OpenLink
}

/// Which roles a link may give to its session.
pub(super) const LINKED: &[Role] = &[WorkspaceEditor, WorkspaceViewer];

/// The calls that whoever is held to one destination may make, as far as the role may: those that show the catalogue, and
/// those in which the store knows no other destination for such an actor.
const WITH_ONE_DESTINATION: &[(Method, &str)] = &[
    (Method::GET, "/api/v1/whoami"),
    (Method::GET, "/api/v1/functions"),
    (Method::GET, "/api/v1/functions/{id}"),
    (Method::GET, "/api/v1/functions/{id}/access"),
    (Method::GET, "/api/v1/functions/{id}/versions"),
    (Method::GET, "/api/v1/functions/{id}/versions/{version}"),
    (Method::GET, "/api/v1/functions/{id}/versions/{version}/diff"),
    (Method::GET, "/api/v1/destinations"),
    (Method::GET, "/api/v1/destinations/{id}"),
    (Method::PATCH, "/api/v1/destinations/{id}"),
    (Method::POST, "/api/v1/destinations/{id}/test"),
    (Method::POST, "/api/v1/destinations/{id}/choices"),
    (Method::GET, "/api/v1/deliveries"),
    (Method::GET, "/api/v1/deliveries/{id}"),
    (Method::GET, "/api/v1/deliveries/{id}/attempts"),
    (Method::POST, "/api/v1/deliveries/{id}/retry"),
    (Method::GET, "/api/v1/ledger"),
];

/// What says how the host is, and not what is on it.
pub(super) const WITHOUT_KEY: [&str; 4] = ["/livez", "/readyz", "/version", "/metrics"];

/// Every call of the control API.
pub(super) const CALLS: &[(Method, &str, Action)] = &[
    (Method::GET, "/api/v1/whoami", KnowOneself),
    (Method::GET, "/api/v1/workspaces", ReadWorkspaces),
    (Method::POST, "/api/v1/workspaces", GovernTenants),
    (Method::GET, "/api/v1/workspaces/{id}", ReadWorkspaces),
    (Method::PATCH, "/api/v1/workspaces/{id}", GovernTenants),
    (Method::DELETE, "/api/v1/workspaces/{id}", GovernTenants),
    (Method::POST, "/api/v1/workspaces/{id}/destroy", GovernTenants),
    (Method::GET, "/api/v1/partners", ReadPartners),
    (Method::POST, "/api/v1/partners", GovernTenants),
    (Method::GET, "/api/v1/partners/{id}", ReadPartners),
    (Method::PATCH, "/api/v1/partners/{id}", GovernTenants),
    (Method::DELETE, "/api/v1/partners/{id}", GovernTenants),
    (Method::GET, "/api/v1/keys", GovernKeys),
    (Method::POST, "/api/v1/keys", GovernKeys),
    (Method::GET, "/api/v1/keys/{id}", GovernKeys),
    (Method::DELETE, "/api/v1/keys/{id}", GovernKeys),
    (Method::POST, "/api/v1/keys/{id}/rotate", GovernKeys),
    (Method::GET, "/api/v1/links", GovernLinks),
    (Method::POST, "/api/v1/links", GovernLinks),
    (Method::GET, "/api/v1/links/{id}", GovernLinks),
    (Method::DELETE, "/api/v1/links/{id}", GovernLinks),
    (Method::POST, "/api/v1/sessions", OpenLink),
    (Method::GET, "/api/v1/signing-keys", DevelopFunctions),
    (Method::POST, "/api/v1/signing-keys", GovernSigning),
    (Method::GET, "/api/v1/signing-keys/{id}", DevelopFunctions),
    (Method::DELETE, "/api/v1/signing-keys/{id}", GovernSigning),
    (Method::GET, "/api/v1/signature-policy", DevelopFunctions),
    (Method::PATCH, "/api/v1/signature-policy", GovernSigning),
    (Method::GET, "/api/v1/functions", ReadCatalogue),
    (Method::POST, "/api/v1/functions", DevelopFunctions),
    (Method::GET, "/api/v1/functions/{id}", ReadCatalogue),
    (Method::GET, "/api/v1/functions/{id}/access", ReadCatalogue),
    (Method::GET, "/api/v1/functions/{id}/versions", ReadCatalogue),
    (Method::GET, "/api/v1/functions/{id}/versions/{version}", ReadCatalogue),
    (Method::GET, "/api/v1/functions/{id}/versions/{version}/diff", ReadCatalogue),
    (Method::GET, "/api/v1/functions/{id}/versions/{version}/script", DevelopFunctions),
    (Method::POST, "/api/v1/functions/{id}/versions/{version}/promote", DevelopFunctions),
    (Method::POST, "/api/v1/functions/{id}/versions/{version}/yank", RetireVersions),
    (Method::POST, "/api/v1/functions/{id}/versions/{version}/deprecate", RetireVersions),
    (Method::POST, "/api/v1/functions/{id}/versions/{version}/restore", RetireVersions),
    (Method::POST, "/api/v1/functions/{id}/rollback", DevelopFunctions),
    (Method::POST, "/api/v1/functions/{id}/test", DevelopFunctions),
    (Method::POST, "/api/v1/functions/{id}/choices", AskFunctions),
    (Method::GET, "/api/v1/functions/{id}/checklist", DevelopFunctions),
    (Method::POST, "/api/v1/functions/{id}/submit", DevelopFunctions),
    (Method::POST, "/api/v1/functions/{id}/stage", RetireVersions),
    (Method::GET, "/api/v1/functions/{id}/invitations", DevelopFunctions),
    (Method::POST, "/api/v1/functions/{id}/invitations", DevelopFunctions),
    (Method::DELETE, "/api/v1/functions/{id}/invitations/{invitation}", DevelopFunctions),
    (Method::POST, "/api/v1/invitations/redeem", ChangeWorkspace),
    (Method::GET, "/api/v1/reviews", FollowReviews),
    (Method::GET, "/api/v1/reviews/{id}", FollowReviews),
    (Method::POST, "/api/v1/reviews/{id}/comments", FollowReviews),
    (Method::POST, "/api/v1/reviews/{id}/withdraw", FollowReviews),
    (Method::POST, "/api/v1/reviews/{id}/approve", DecideReviews),
    (Method::POST, "/api/v1/reviews/{id}/reject", DecideReviews),
    (Method::GET, "/api/v1/wishes", ReadWishes),
    (Method::POST, "/api/v1/wishes", ChangeWorkspace),
    (Method::POST, "/api/v1/wishes/{id}/vote", ChangeWorkspace),
    (Method::DELETE, "/api/v1/wishes/{id}/vote", ChangeWorkspace),
    (Method::GET, "/api/v1/functions/{id}/logs", DevelopFunctions),
    (Method::GET, "/api/v1/sources", ReadWorkspace),
    (Method::POST, "/api/v1/sources", ChangeWorkspace),
    (Method::GET, "/api/v1/sources/{id}", ReadWorkspace),
    (Method::PATCH, "/api/v1/sources/{id}", ChangeWorkspace),
    (Method::DELETE, "/api/v1/sources/{id}", ChangeWorkspace),
    (Method::GET, "/api/v1/destinations", ReadWorkspace),
    (Method::POST, "/api/v1/destinations", ChangeWorkspace),
    (Method::GET, "/api/v1/destinations/{id}", ReadWorkspace),
    (Method::PATCH, "/api/v1/destinations/{id}", ChangeWorkspace),
    (Method::DELETE, "/api/v1/destinations/{id}", ChangeWorkspace),
    (Method::POST, "/api/v1/destinations/{id}/test", ChangeWorkspace),
    (Method::POST, "/api/v1/destinations/{id}/choices", ChangeWorkspace),
    (Method::GET, "/api/v1/connections", ReadWorkspace),
    (Method::POST, "/api/v1/connections", ChangeWorkspace),
    (Method::GET, "/api/v1/connections/{id}", ReadWorkspace),
    (Method::PATCH, "/api/v1/connections/{id}", ChangeWorkspace),
    (Method::DELETE, "/api/v1/connections/{id}", ChangeWorkspace),
    (Method::GET, "/api/v1/deliveries", ReadWorkspace),
    (Method::GET, "/api/v1/deliveries/{id}", ReadWorkspace),
    (Method::GET, "/api/v1/deliveries/{id}/attempts", ReadWorkspace),
    (Method::POST, "/api/v1/deliveries/{id}/retry", ChangeWorkspace),
    (Method::GET, "/api/v1/replays", ReadWorkspace),
    (Method::POST, "/api/v1/replays", ChangeWorkspace),
    (Method::GET, "/api/v1/replays/{id}", ReadWorkspace),
    (Method::POST, "/api/v1/replays/{id}/pause", ChangeWorkspace),
    (Method::POST, "/api/v1/replays/{id}/resume", ChangeWorkspace),
    (Method::POST, "/api/v1/replays/{id}/cancel", ChangeWorkspace),
    (Method::GET, "/api/v1/suppressions", ReadWorkspace),
    (Method::POST, "/api/v1/suppressions", ChangeWorkspace),
    (Method::GET, "/api/v1/suppressions/{id}", ReadWorkspace),
    (Method::DELETE, "/api/v1/suppressions/{id}", ChangeWorkspace),
    (Method::GET, "/api/v1/ledger", ReadWorkspace),
    (Method::GET, "/api/v1/audit", ReadAudit),
    (Method::GET, "/api/v1/audit/verify", VerifyAudit),
    (Method::GET, "/api/v1/vault", GovernVault),
    (Method::POST, "/api/v1/vault/rotate", GovernVault),
    (Method::GET, "/functions", ReadCatalogue),
    (Method::POST, "/functions", DevelopFunctions),
    (Method::GET, "/functions/{id}", ReadCatalogue),
    (Method::PATCH, "/functions/{id}", DevelopFunctions),
    (Method::DELETE, "/functions/{id}", DevelopFunctions),
    (Method::POST, "/functions/{id}/deploy", DevelopFunctions),
    (Method::GET, "/functions/{id}/versions", DevelopFunctions),
    (Method::POST, "/functions/{id}/versions", DevelopFunctions),
    (Method::GET, "/functions/{id}/versions/{version}", DevelopFunctions),
];

/// What a call does; none if there is no such call. A `HEAD` is the `GET` without its body.
pub(super) fn action(method: &Method, path: &str) -> Option<Action> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    CALLS.iter().find(|(known, at, _)| known == method && *at == path).map(|(_, _, action)| *action)
}

/// Whether who is held to one destination may make this call.
pub(super) fn allows_with_one_destination(method: &Method, path: &str) -> bool {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    WITH_ONE_DESTINATION.iter().any(|(known, at)| known == method && *at == path)
}

/// Whether a role may do it.
pub(super) fn allows(role: Role, action: Action) -> bool {
    roles(action).contains(&role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_do_everything_and_nobody_gives_more_than_they_have() {
        for (method, path, action) in CALLS {
            assert!(allows(Operator, *action), "{method} {path}");
        }
        for role in Role::ALL {
            for given in grants(role) {
                assert!(role == Operator || role.side() == given.side(), "{role} gives {given}");
            }
            assert_eq!(grants(role).is_empty(), !allows(role, GovernKeys), "{role}");
        }
    }

    #[test]
    fn whoever_is_held_to_one_destination_makes_no_call_that_a_workspaces_editor_may_not() {
        for (method, path) in WITH_ONE_DESTINATION {
            assert!(action(method, path).is_some_and(|action| allows(WorkspaceEditor, action)), "{method} {path}");
        }
        for (method, path) in [(Method::GET, "/api/v1/sources"), (Method::DELETE, "/api/v1/destinations/{id}")] {
            assert!(!allows_with_one_destination(&method, path), "{method} {path}");
        }
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let changing = CALLS.iter().filter(|(method, _, action)| method != Method::GET && !is_open(*action));
        for (method, path, action) in changing {
            assert!(!allows(WorkspaceViewer, *action), "{method} {path}");
        }
    }
}
