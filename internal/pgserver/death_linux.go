package pgserver

import "syscall"

// endWithParent makes the kernel send the process an immediate shutdown when we die without having stopped it.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
