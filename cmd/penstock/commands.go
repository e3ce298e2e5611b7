package main

import "github.com/spf13/cobra"

// addCommands is the table of contents: a file each.
func (a *app) addCommands(root *cobra.Command) {
	root.AddCommand(
		a.configCommand(),
		a.serverCommand(),
		a.devCommand(),
		a.enqueueCommand(),
		a.workCommand(),
		a.waitCommand(),
		a.getCommand(),
		a.lsCommand(),
		a.changeCommand(changes[0]),
		a.changeCommand(changes[1]),
		a.changeCommand(changes[2]),
		a.queuesCommand(),
		a.pauseCommand(true),
		a.pauseCommand(false),
		a.purgeCommand(),
		a.topCommand(),
		a.doctorCommand(),
		a.versionCommand(),
		a.benchCommand(),
		a.guardCommand(),
	)
}
