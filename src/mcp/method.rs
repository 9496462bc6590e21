//! The methods a client may send to a server, over all revisions from 2024-11-05 to 2026-07-28.

/// Declares the methods once, so that the enum, its spellings and the list of all methods cannot differ.
macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A method that a client sends, as request or as notification. The sources are `ClientRequest` and
        /// `ClientNotification` of each revision's `schema.ts`, and the tasks extension.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $variant,)*
        }

        impl Method {
            /// Every method, each at its [`Self::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The method as the specification spells it; `other` for [`Self::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

methods! {
    /// Opens a session (up to 2025-11-25).
    Initialize = "initialize",
    /// Checks that the peer lives (up to 2025-11-25).
    Ping = "ping",
    /// Lists the tools.
    ToolsList = "tools/list",
    /// Runs a tool.
    ToolsCall = "tools/call",
    /// Lists the resources.
    ResourcesList = "resources/list",
    /// Lists the resource templates.
    ResourcesTemplatesList = "resources/templates/list",
    /// Reads a resource.
    ResourcesRead = "resources/read",
    /// Asks for updates of a resource (up to 2025-11-25).
    ResourcesSubscribe = "resources/subscribe",
    /// Stops updates of a resource (up to 2025-11-25).
    ResourcesUnsubscribe = "resources/unsubscribe",
    /// Lists the prompts.
    PromptsList = "prompts/list",
    /// Fetches a prompt.
    PromptsGet = "prompts/get",
    /// Completes an argument.
    CompletionComplete = "completion/complete",
    /// Sets the session's log level (up to 2025-11-25).
    LoggingSetLevel = "logging/setLevel",
    /// Asks for the state of a task (2025-11-25, and the tasks extension).
    TasksGet = "tasks/get",
    /// Asks for the result of a task (2025-11-25).
    TasksResult = "tasks/result",
    /// Lists the tasks (2025-11-25).
    TasksList = "tasks/list",
    /// Cancels a task (2025-11-25, and the tasks extension).
    TasksCancel = "tasks/cancel",
    /// Gives a task the input that it asked for (the tasks extension).
    TasksUpdate = "tasks/update",
    /// Asks for the server's capabilities. Clients that speak both eras also probe with it (2026-07-28).
    ServerDiscover = "server/discover",
    /// Opens a stream of notifications (2026-07-28).
    SubscriptionsListen = "subscriptions/listen",
    /// Completes the handshake (up to 2025-11-25).
    NotificationsInitialized = "notifications/initialized",
    /// Cancels a request.
    NotificationsCancelled = "notifications/cancelled",
    /// Tells the progress of a request that the server sent (up to 2025-11-25).
    NotificationsProgress = "notifications/progress",
    /// Tells that the client's roots changed (up to 2025-11-25).
    NotificationsRootsListChanged = "notifications/roots/list_changed",
    /// Tells the state of a task that the client runs (2025-11-25).
    NotificationsTasksStatus = "notifications/tasks/status",
    /// Any other method. All of them share one label, so that clients cannot create metrics.
    Other = "other",
}

impl Method {
    /// The method with exactly this spelling; [`Self::Other`] if there is none.
    pub fn from_bytes(name: &[u8]) -> Self {
        let known = Self::ALL.iter().find(|method| method.as_str().as_bytes() == name);
        known.copied().unwrap_or(Self::Other)
    }

    /// Position in [`Self::ALL`], for arrays with one entry per method.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The parameter that names the request's target, if `Mcp-Name` repeats it (MCP 2026-07-28,
    /// `basic/transports/streamable-http` § Standard Request Headers).
    pub const fn target(self) -> Option<Target> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some(Target::Name),
            Self::ResourcesRead => Some(Target::Uri),
            Self::Initialize
            | Self::Ping
            | Self::ToolsList
            | Self::ResourcesList
            | Self::ResourcesTemplatesList
            | Self::ResourcesSubscribe
            | Self::ResourcesUnsubscribe
            | Self::PromptsList
            | Self::CompletionComplete
            | Self::LoggingSetLevel
            | Self::TasksGet
            | Self::TasksResult
            | Self::TasksList
            | Self::TasksCancel
            | Self::TasksUpdate
            | Self::ServerDiscover
            | Self::SubscriptionsListen
            | Self::NotificationsInitialized
            | Self::NotificationsCancelled
            | Self::NotificationsProgress
            | Self::NotificationsRootsListChanged
            | Self::NotificationsTasksStatus
            | Self::Other => None,
        }
    }
}

/// The parameter that `Mcp-Name` repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `params.name`: a tool or a prompt.
    Name,
    /// `params.uri`: a resource.
    Uri,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_spelling() {
        for &method in Method::ALL {
            assert_eq!(Method::from_bytes(method.as_str().as_bytes()), method);
        }
    }

    #[test]
    fn every_method_stands_at_its_index() {
        for (position, method) in Method::ALL.iter().enumerate() {
            assert_eq!(method.index(), position);
        }
    }

    #[test]
    fn no_two_methods_share_a_spelling() {
        let mut names: Vec<_> = Method::ALL.iter().map(|method| method.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Method::ALL.len());
    }

    #[test]
    fn unknown_and_misspelt_methods_are_other() {
        let unknown: [&[u8]; 6] = [
            b"",
            b"Initialize",
            b"tools/call ",
            b"tools",
            b"roots/list",
            b"\xFF",
        ];
        for name in unknown {
            assert_eq!(Method::from_bytes(name), Method::Other, "{name:?}");
        }
    }

    #[test]
    fn three_methods_have_a_target() {
        let with_target: Vec<_> = Method::ALL
            .iter()
            .filter(|method| method.target().is_some())
            .collect();
        assert_eq!(
            with_target,
            [&Method::ToolsCall, &Method::ResourcesRead, &Method::PromptsGet]
        );
    }
}
