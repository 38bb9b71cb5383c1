//! The client's own error codes. Those of the broker are [`anyport_protocol::Code`]; both are listed in docs/errors.md, which is
//! written from these tables.

anyport_protocol::error_codes! {
    /// What goes wrong on the client's side. Stable numbers, never reused. The hundreds group them: 10 the client and its home
    /// folder, 11 the command line, 12 the operator of a cluster.
    ClientCode {
        /// A file of the home folder cannot be read or written.
        Home = 1000, retry: false, outcome: SurelyNot,
            next: "check that the folder is yours and the disk not full, or name another folder by ANYPORT_HOME";
        /// The identity file is there and is none.
        BadIdentity = 1001, retry: false, outcome: SurelyNot,
            next: "restore the file, or remove it to register a new identity";
        /// A name that cannot name an identity.
        BadClientName = 1002, retry: false, outcome: SurelyNot,
            next: "choose another --client name";
        /// A name that cannot name a subscription.
        BadSubscriptionName = 1003, retry: false, outcome: SurelyNot,
            next: "choose another subscription name";
        /// Another process has this identity's session.
        InUse = 1004, retry: true, outcome: SurelyNot,
            next: "end the other command, or take another identity with --client NAME";
        /// The home folder has no certificate authority, so no broker can be trusted.
        NoAuthority = 1005, retry: false, outcome: SurelyNot,
            next: "start `anyportd --dev` as this user, or put your cluster's authority there as a .pem file";
        /// A file of the `ca` folder holds no certificate.
        BadAuthority = 1006, retry: false, outcome: SurelyNot,
            next: "replace the file by a certificate in PEM, or remove it";
        /// No broker is named.
        NoServer = 1007, retry: false, outcome: SurelyNot,
            next: "name a broker, such as --server 127.0.0.1:7400";
        /// The broker shows a certificate that no trusted authority has signed.
        Certificate = 1008, retry: false, outcome: SurelyNot,
            next: "check --server; if it is right, put its certificate authority into the `ca` folder of ANYPORT_HOME";
        /// No broker answered in time.
        Unreachable = 1009, retry: true, outcome: SurelyNot,
            next: "check that the broker runs (`anyportd --dev`) and that --server names it";
        /// The broker belongs to another cluster than the one that issued the identity.
        OtherCluster = 1010, retry: false, outcome: SurelyNot,
            next: "check --server, or take another identity with --client NAME";
        /// The broker counts partitions in a way this client does not know.
        UnknownPartitioner = 1011, retry: false, outcome: SurelyNot,
            next: "install the version of anyport that came with the broker";
        /// The subscription is open already in this process.
        AlreadyOpen = 1012, retry: false, outcome: SurelyNot,
            next: "use the one that is open, or close it first";
        /// The resume token is not one of this subscription, or of an earlier life of it.
        BadResumeToken = 1013, retry: false, outcome: SurelyNot,
            next: "subscribe without the token: what is acked is known to the broker";
        /// The client was closed by its owner.
        Closed = 1014, retry: false, outcome: SurelyNot,
            next: "connect a new client";
        /// What is no address was given as one.
        BadServer = 1015, retry: false, outcome: SurelyNot,
            next: "name a broker, such as --server 127.0.0.1:7400";

        /// The home folder has no identity of this name.
        NotRegistered = 1020, retry: false, outcome: SurelyNot,
            next: "check --client, or make this identity: anyport register --client NAME";
        /// What should be an exported identity is none, or of a version not known here.
        BadExport = 1021, retry: false, outcome: SurelyNot,
            next: "give a file that `anyport identity export` has written, whole and unchanged";
        /// There is an identity of this name already, or the same one under another name.
        IdentityThere = 1022, retry: false, outcome: SurelyNot,
            next: "choose another name with --client NAME, or replace it with --force";

        /// Another process has this identity's outbox, or another client of this one.
        OutboxInUse = 1030, retry: true, outcome: SurelyNot,
            next: "end the other command, or take another identity with --client NAME";
        /// A file of the outbox is damaged or missing.
        BadOutbox = 1031, retry: false, outcome: SurelyNot,
            next: "restore the file from a copy; or move it away, and what it held is not sent";
        /// The outbox has no room for another event.
        OutboxFull = 1032, retry: true, outcome: SurelyNot,
            next: "publish again when a broker has taken what waits, or allow the outbox more bytes";

        /// A command line that means nothing.
        WrongUsage = 1100, retry: false, outcome: SurelyNot,
            next: "see anyport --help";
        /// A command failed in a way that has no code of its own; the text says how.
        CommandFailed = 1101, retry: false, outcome: SurelyNot,
            next: "correct what the text names, then type the same command again";
        /// A line of the input is no event.
        BadLine = 1102, retry: false, outcome: SurelyNot,
            next: "correct the line; nothing from it on was published";
        /// A file that was named cannot be read.
        Unreadable = 1103, retry: false, outcome: SurelyNot,
            next: "check the name and that you may read the file";
        /// The output cannot be written.
        Unwritable = 1104, retry: false, outcome: SurelyNot,
            next: "check that there is room and that you may write there";

        /// A file that would be made is there already.
        FileThere = 1200, retry: false, outcome: SurelyNot,
            next: "name another folder or file; remove this one only if no cluster uses it";
        /// The files of a cluster that `anyport admin` needs are not there, not readable, or not what they should be.
        ClusterFiles = 1201, retry: false, outcome: SurelyNot,
            next: "name what `anyport admin cluster-init` has made, whole and unchanged";
    }
}
