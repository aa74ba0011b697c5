//! The control plane's calls about a function's way to customers: checks, reviews, invitations, wishes.

use super::error::StoreError;
use super::handle::Store;
use super::types::{NewReview, Page, Paged, Turn};
use super::{consent, functions, invitations, reviews, wishes};
use crate::model::{
    Actor, Checks, Comment, Function, FunctionId, Invitation, InvitationId, Review, ReviewId, ReviewState, ScriptText,
    Stage, Timestamp, VersionId, Wish, WishId,
};

type Result<T> = std::result::Result<T, StoreError>;

/// Functions on their way. Errors: [`StoreError::NotFound`] for what is not this actor's, [`StoreError::NotNow`] for what does not
/// fit where the function or the review stands.
impl Store {
    /// What the host found when it tried a version; none for one that came before it did.
    pub async fn checks(&self, version: VersionId) -> Result<Option<Checks>> {
        self.readers.read(move |sql| functions::checks(sql, version)).await
    }

    /// Keeps what the host found when it tried a version.
    pub async fn set_checks(&self, version: VersionId, checks: Checks) -> Result<()> {
        self.call(move |commit| functions::set_checks(commit, version, &checks)).await
    }

    /// Keeps what a version was built of on this host.
    pub async fn set_script(&self, version: VersionId, script: ScriptText) -> Result<()> {
        self.call(move |commit| functions::set_script(commit, version, &script)).await
    }

    /// What a version was built of, if that was on this host; none for customers.
    pub async fn script(&self, actor: &Actor, function: FunctionId, version: VersionId) -> Result<Option<ScriptText>> {
        let actor = actor.clone();
        self.readers.read(move |sql| functions::script(sql, &actor, function, version)).await
    }

    /// The versions whose access those agreed to who follow a function, in all workspaces.
    pub async fn agreed(&self, function: FunctionId) -> Result<Vec<VersionId>> {
        self.readers.read(move |sql| consent::agreed(sql, function)).await
    }

    /// Puts a function where it is to be; the caller has looked whether the actor may. A version that customers run then is
    /// approved by `approve`.
    pub async fn set_stage(
        &self,
        actor: &Actor,
        id: FunctionId,
        stage: Stage,
        approve: Option<VersionId>,
    ) -> Result<Function> {
        let actor = actor.clone();
        self.call(move |commit| {
            if let Some(version) = approve {
                functions::approve(commit, version)?;
            }
            functions::set_stage(commit, &actor, id, stage, "function.stage")
        })
        .await
    }

    /// Asks for a review.
    pub async fn submit(&self, actor: &Actor, new: NewReview) -> Result<Review> {
        let actor = actor.clone();
        self.call(move |commit| reviews::submit(commit, &actor, new)).await
    }

    /// One page of reviews, oldest first: a partner's own, for operators all.
    pub async fn list_reviews(&self, actor: &Actor, state: Option<ReviewState>, page: &Page) -> Result<Paged<Review>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| reviews::list(sql, &actor, state, &page)).await
    }

    /// One review, and what was said about it.
    pub async fn get_review(&self, actor: &Actor, id: ReviewId) -> Result<(Review, Vec<Comment>)> {
        let actor = actor.clone();
        self.readers.read(move |sql| Ok((reviews::get(sql, &actor, id)?, reviews::comments(sql, id)?))).await
    }

    /// Says something about a review.
    pub async fn comment(&self, actor: &Actor, id: ReviewId, text: String) -> Result<Comment> {
        let actor = actor.clone();
        self.call(move |commit| reviews::comment(commit, &actor, id, text)).await
    }

    /// Ends a review without an approval, with a last word if there is one.
    pub async fn end_review(
        &self,
        actor: &Actor,
        id: ReviewId,
        state: ReviewState,
        comment: Option<String>,
    ) -> Result<Review> {
        let actor = actor.clone();
        self.call(move |commit| {
            if let Some(text) = comment {
                reviews::comment(commit, &actor, id, text)?;
            }
            reviews::end(commit, &actor, id, state)
        })
        .await
    }

    /// Approves a review, with a word if there is one.
    pub async fn approve(&self, actor: &Actor, id: ReviewId, turn: Turn, comment: Option<String>) -> Result<Review> {
        let actor = actor.clone();
        self.call(move |commit| {
            if let Some(text) = comment {
                reviews::comment(commit, &actor, id, text)?;
            }
            reviews::approve(commit, &actor, id, &turn)
        })
        .await
    }

    /// Makes a link to a function; with it its code, which is kept nowhere.
    pub async fn invite(
        &self,
        actor: &Actor,
        id: FunctionId,
        expires_at: Option<Timestamp>,
    ) -> Result<(Invitation, String)> {
        let actor = actor.clone();
        self.call(move |commit| invitations::create(commit, &actor, id, expires_at)).await
    }

    /// One page of a function's links, oldest first.
    pub async fn list_invitations(&self, actor: &Actor, id: FunctionId, page: &Page) -> Result<Paged<Invitation>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| invitations::list(sql, &actor, id, &page)).await
    }

    /// Takes a link back.
    pub async fn revoke_invitation(&self, actor: &Actor, id: FunctionId, invitation: InvitationId) -> Result<()> {
        let actor = actor.clone();
        self.call(move |commit| invitations::revoke(commit, &actor, id, invitation)).await
    }

    /// Lets the actor's workspace see the function that a code leads to.
    pub async fn redeem(&self, actor: &Actor, code: String) -> Result<Function> {
        let actor = actor.clone();
        self.call(move |commit| invitations::redeem(commit, &actor, &code)).await
    }

    /// One page of what customers wish for, oldest first.
    pub async fn list_wishes(&self, actor: &Actor, page: &Page) -> Result<Paged<Wish>> {
        let (actor, page) = (actor.clone(), page.clone());
        self.readers.read(move |sql| wishes::list(sql, &actor, &page)).await
    }

    /// Wishes for a destination.
    pub async fn wish(&self, actor: &Actor, name: String) -> Result<Wish> {
        let actor = actor.clone();
        self.call(move |commit| wishes::create(commit, &actor, name)).await
    }

    /// Gives the workspace's vote to a wish, or takes it back.
    pub async fn vote(&self, actor: &Actor, id: WishId, on: bool) -> Result<Wish> {
        let actor = actor.clone();
        self.call(move |commit| wishes::vote(commit, &actor, id, on)).await
    }
}
