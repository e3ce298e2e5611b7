package main

const serveCommand = "serve-child"

func serve([]string) error { return nil }
