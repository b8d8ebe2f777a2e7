//! System calls that neither std nor nix offer; the only unsafe code of the agent.
