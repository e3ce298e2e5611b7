package main

import "github.com/spf13/cobra"

// addCommands is the table of contents: a file each.
func (a *app) addCommands(root *cobra.Command) {
	root.AddCommand(
		a.configCommand(),
		a.guardCommand(),
	)
}
