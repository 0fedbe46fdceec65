"""The protobuf messages of the kinds that kubectl's own subcommands build. Data only; `protobuf.py` reads by it."""

# Field numbers, by message. A field is `number:name:type`; without a type it is a string. Types: `i` integer and `?`
# boolean, both left out when zero and kept with `!` (where Kubernetes tells zero from absent); `b` bytes; `t` time;
# `q` quantity; `I` integer or string; `j` JSON; `[]x` a list; `{}x` a map from strings; any other name is a message
# below. A field named `+` is a struct of its own in Go whose fields stand directly in the JSON object. A kind whose
# versions differ has a message a version.
MESSAGES: dict[str, str] = {
    "ObjectMeta": "1:name 2:generateName 3:namespace 4:selfLink 5:uid 6:resourceVersion 7:generation:i "
    "8:creationTimestamp:t 9:deletionTimestamp:t 10:deletionGracePeriodSeconds:i! 11:labels:{}s 12:annotations:{}s "
    "13:ownerReferences:[]OwnerReference 14:finalizers:[]s 17:managedFields:[]ManagedFieldsEntry",
    "ManagedFieldsEntry": "1:manager 2:operation 3:apiVersion 4:time:t 6:fieldsType 7:fieldsV1:j 8:subresource",
    "OwnerReference": "1:kind 3:name 4:uid 5:apiVersion 6:controller:?! 7:blockOwnerDeletion:?!",
    "LabelSelector": "1:matchLabels:{}s 2:matchExpressions:[]LabelSelectorRequirement",
    "LabelSelectorRequirement": "1:key 2:operator 3:values:[]s",
    "DeleteOptions": "1:gracePeriodSeconds:i! 2:preconditions:Preconditions 3:orphanDependents:?! 4:propagationPolicy "
    "5:dryRun:[]s",
    "Preconditions": "1:uid 2:resourceVersion",
    "Empty": "",
    "Namespace": "1:metadata:ObjectMeta 2:spec:NamespaceSpec 3:status:NamespaceStatus",
    "NamespaceSpec": "1:finalizers:[]s",
    "NamespaceStatus": "1:phase",
    "ConfigMap": "1:metadata:ObjectMeta 2:data:{}s 3:binaryData:{}b 4:immutable:?!",
    "Secret": "1:metadata:ObjectMeta 2:data:{}b 3:type 4:stringData:{}s 5:immutable:?!",
    "ServiceAccount": "1:metadata:ObjectMeta 2:secrets:[]ObjectReference 3:imagePullSecrets:[]LocalObjectReference "
    "4:automountServiceAccountToken:?!",
    "ObjectReference": "1:kind 2:namespace 3:name 4:uid 5:apiVersion 6:resourceVersion 7:fieldPath",
    "LocalObjectReference": "1:name",
    "ResourceQuota": "1:metadata:ObjectMeta 2:spec:ResourceQuotaSpec 3:status:Empty",
    "ResourceQuotaSpec": "1:hard:{}q 2:scopes:[]s",
    "Service": "1:metadata:ObjectMeta 2:spec:ServiceSpec 3:status:ServiceStatus",
    "ServiceSpec": "1:ports:[]ServicePort 2:selector:{}s 3:clusterIP 4:type 5:externalIPs:[]s 7:sessionAffinity "
    "8:loadBalancerIP 9:loadBalancerSourceRanges:[]s 10:externalName 11:externalTrafficPolicy "
    "12:healthCheckNodePort:i 13:publishNotReadyAddresses:? 17:ipFamilyPolicy 18:clusterIPs:[]s "
    "19:ipFamilies:[]s 20:allocateLoadBalancerNodePorts:?! 21:loadBalancerClass 22:internalTrafficPolicy "
    "23:trafficDistribution",
    "ServicePort": "1:name 2:protocol 3:port:i 4:targetPort:I 5:nodePort:i 6:appProtocol",
    "ServiceStatus": "1:loadBalancer:Empty",
    "PodTemplateSpec": "1:metadata:ObjectMeta 2:spec:PodSpec",
    "PodSpec": "1:volumes:[]Volume 2:containers:[]Container 3:restartPolicy 4:terminationGracePeriodSeconds:i! "
    "5:activeDeadlineSeconds:i! 6:dnsPolicy 7:nodeSelector:{}s 8:serviceAccountName 9:serviceAccount "
    "10:nodeName 11:hostNetwork:? 12:hostPID:? 13:hostIPC:? 14:securityContext:PodSecurityContext "
    "15:imagePullSecrets:[]LocalObjectReference 16:hostname 17:subdomain 18:affinity:Affinity "
    "19:schedulerName 20:initContainers:[]Container 21:automountServiceAccountToken:?! "
    "22:tolerations:[]Toleration 23:hostAliases:[]HostAlias 24:priorityClassName 25:priority:i! "
    "26:dnsConfig:PodDNSConfig 27:shareProcessNamespace:?! 29:runtimeClassName 30:enableServiceLinks:?! "
    "31:preemptionPolicy 32:overhead:{}q 33:topologySpreadConstraints:[]TopologySpreadConstraint "
    "34:ephemeralContainers:[]EphemeralContainer 35:setHostnameAsFQDN:?! 36:os:LocalObjectReference "
    "37:hostUsers:?! 38:schedulingGates:[]LocalObjectReference 40:resources:ResourceRequirements",
    "Container": "1:name 2:image 3:command:[]s 4:args:[]s 5:workingDir 6:ports:[]ContainerPort 7:env:[]EnvVar "
    "8:resources:ResourceRequirements 9:volumeMounts:[]VolumeMount 10:livenessProbe:Probe "
    "11:readinessProbe:Probe 12:lifecycle:Lifecycle 13:terminationMessagePath 14:imagePullPolicy "
    "15:securityContext:SecurityContext 16:stdin:? 17:stdinOnce:? 18:tty:? 19:envFrom:[]EnvFromSource "
    "20:terminationMessagePolicy 22:startupProbe:Probe 24:restartPolicy",
    "ContainerPort": "1:name 2:hostPort:i 3:containerPort:i 4:protocol 5:hostIP",
    "EnvVar": "1:name 2:value 3:valueFrom:EnvVarSource",
    "EnvVarSource": "1:fieldRef:ObjectFieldSelector 2:resourceFieldRef:ResourceFieldSelector "
    "3:configMapKeyRef:KeySelector 4:secretKeyRef:KeySelector",
    "ObjectFieldSelector": "1:apiVersion 2:fieldPath",
    "KeySelector": "1:+:LocalObjectReference 2:key 3:optional:?!",
    "ResourceRequirements": "1:limits:{}q 2:requests:{}q",
    "VolumeMount": "1:name 2:readOnly:? 3:mountPath 4:subPath 5:mountPropagation 6:subPathExpr 7:recursiveReadOnly",
    "Deployment": "1:metadata:ObjectMeta 2:spec:DeploymentSpec 3:status:Status",
    "DeploymentSpec": "1:replicas:i! 2:selector:LabelSelector 3:template:PodTemplateSpec 4:strategy:DeploymentStrategy "
    "5:minReadySeconds:i 6:revisionHistoryLimit:i! 7:paused:? 9:progressDeadlineSeconds:i!",
    "DeploymentStrategy": "1:type 2:rollingUpdate:RollingUpdate",
    "RollingUpdate": "1:maxUnavailable:I 2:maxSurge:I",
    "Status": "1:a:i 2:b:i 3:c:i 4:d:i 5:e:i 7:g:i",
    "Job": "1:metadata:ObjectMeta 2:spec:JobSpec 3:status:Status",
    "JobSpec": "1:parallelism:i! 2:completions:i! 3:activeDeadlineSeconds:i! 4:selector:LabelSelector "
    "5:manualSelector:?! 6:template:PodTemplateSpec 7:backoffLimit:i! 8:ttlSecondsAfterFinished:i! "
    "9:completionMode 10:suspend:?! 12:backoffLimitPerIndex:i! 13:maxFailedIndexes:i! 14:podReplacementPolicy "
    "15:managedBy",
    "CronJob": "1:metadata:ObjectMeta 2:spec:CronJobSpec 3:status:Empty",
    "CronJobSpec": "1:schedule 2:startingDeadlineSeconds:i! 3:concurrencyPolicy 4:suspend:?! 5:jobTemplate:JobTemplate "
    "6:successfulJobsHistoryLimit:i! 7:failedJobsHistoryLimit:i! 8:timeZone",
    "JobTemplate": "1:metadata:ObjectMeta 2:spec:JobSpec",
    "Scale": "1:metadata:ObjectMeta 2:spec:ScaleSpec 3:status:ScaleStatus",
    "ScaleSpec": "1:replicas:i",
    "ScaleStatus": "1:replicas:i 2:selector",
    "Role": "1:metadata:ObjectMeta 2:rules:[]PolicyRule",
    "ClusterRole": "1:metadata:ObjectMeta 2:rules:[]PolicyRule 3:aggregationRule:AggregationRule",
    "PolicyRule": "1:verbs:[]s 2:apiGroups:[]s 3:resources:[]s 4:resourceNames:[]s 5:nonResourceURLs:[]s",
    "RoleBinding": "1:metadata:ObjectMeta 2:subjects:[]Subject 3:roleRef:RoleRef",
    "ClusterRoleBinding": "1:metadata:ObjectMeta 2:subjects:[]Subject 3:roleRef:RoleRef",
    "Subject": "1:kind 2:apiGroup 3:name 4:namespace",
    "RoleRef": "1:apiGroup 2:kind 3:name",
    "PriorityClass": "1:metadata:ObjectMeta 2:value:i! 3:globalDefault:? 4:description 5:preemptionPolicy",
    "PodDisruptionBudget": "1:metadata:ObjectMeta 2:spec:PodDisruptionBudgetSpec 3:status:Status",
    "PodDisruptionBudgetSpec": "1:minAvailable:I 2:selector:LabelSelector 3:maxUnavailable:I "
    "4:unhealthyPodEvictionPolicy",
    "Eviction": "1:metadata:ObjectMeta 2:deleteOptions:DeleteOptions",
    "SelfSubjectReview": "1:metadata:ObjectMeta 2:status:Empty",
    "SelfSubjectAccessReview": "1:metadata:ObjectMeta 2:spec:AccessReviewSpec 3:status:AccessReviewStatus",
    "AccessReviewSpec": "1:resourceAttributes:ResourceAttributes 2:nonResourceAttributes:NonResourceAttributes",
    "ResourceAttributes": "1:namespace 2:verb 3:group 4:version 5:resource 6:subresource 7:name",
    "NonResourceAttributes": "1:path 2:verb",
    "AccessReviewStatus": "1:allowed:? 2:reason 3:evaluationError 4:denied:?",
    "SelfSubjectRulesReview": "1:metadata:ObjectMeta 2:spec:RulesReviewSpec 3:status:RulesReviewStatus",
    "RulesReviewSpec": "1:namespace",
    "RulesReviewStatus": "3:incomplete:? 4:evaluationError",
    "EphemeralContainer": "1:+:Container 2:targetContainerName",
    "ResourceFieldSelector": "1:containerName 2:resource 3:divisor:q",
    "EnvFromSource": "1:prefix 2:configMapRef:EnvSource 3:secretRef:EnvSource",
    "EnvSource": "1:+:LocalObjectReference 2:optional:?!",
    "PodSecurityContext": "1:seLinuxOptions:SELinuxOptions 2:runAsUser:i! 3:runAsNonRoot:?! 4:supplementalGroups:[]i "
    "5:fsGroup:i! 6:runAsGroup:i! 9:fsGroupChangePolicy 10:seccompProfile:Profile 11:appArmorProfile:Profile "
    "12:supplementalGroupsPolicy 13:seLinuxChangePolicy",
    "SecurityContext": "1:capabilities:Capabilities 2:privileged:?! 3:seLinuxOptions:SELinuxOptions 4:runAsUser:i! "
    "5:runAsNonRoot:?! 6:readOnlyRootFilesystem:?! 7:allowPrivilegeEscalation:?! 8:runAsGroup:i! 9:procMount "
    "11:seccompProfile:Profile 12:appArmorProfile:Profile",
    "Capabilities": "1:add:[]s 2:drop:[]s",
    "SELinuxOptions": "1:user 2:role 3:type 4:level",
    "Profile": "1:type 2:localhostProfile",
    "Probe": "1:+:Handler 2:initialDelaySeconds:i 3:timeoutSeconds:i 4:periodSeconds:i 5:successThreshold:i "
    "6:failureThreshold:i 7:terminationGracePeriodSeconds:i!",
    "Handler": "1:exec:ExecAction 2:httpGet:HTTPGetAction 3:tcpSocket:TCPSocketAction 4:grpc:GRPCAction",
    "Lifecycle": "1:postStart:LifecycleHandler 2:preStop:LifecycleHandler",
    "LifecycleHandler": "1:exec:ExecAction 2:httpGet:HTTPGetAction 3:tcpSocket:TCPSocketAction 4:sleep:SleepAction",
    "ExecAction": "1:command:[]s",
    "HTTPGetAction": "1:path 2:port:I 3:host 4:scheme 5:httpHeaders:[]HTTPHeader",
    "HTTPHeader": "1:name 2:value",
    "TCPSocketAction": "1:port:I 2:host",
    "GRPCAction": "1:port:i 2:service",
    "SleepAction": "1:seconds:i!",
    "Volume": "1:name 2:+:VolumeSource",
    "VolumeSource": "1:hostPath:HostPath 2:emptyDir:EmptyDir 6:secret:SecretVolume 7:nfs:NFS "
    "10:persistentVolumeClaim:ClaimVolume 16:downwardAPI:DownwardAPIVolume 19:configMap:ConfigMapVolume "
    "26:projected:ProjectedVolume",
    "HostPath": "1:path 2:type",
    "EmptyDir": "1:medium 2:sizeLimit:q",
    "SecretVolume": "1:secretName 2:items:[]KeyToPath 3:defaultMode:i! 4:optional:?!",
    "ConfigMapVolume": "1:+:LocalObjectReference 2:items:[]KeyToPath 3:defaultMode:i! 4:optional:?!",
    "KeyToPath": "1:key 2:path 3:mode:i!",
    "NFS": "1:server 2:path 3:readOnly:?",
    "ClaimVolume": "1:claimName 2:readOnly:?",
    "DownwardAPIVolume": "1:items:[]DownwardAPIFile 2:defaultMode:i!",
    "DownwardAPIFile": "1:path 2:fieldRef:ObjectFieldSelector 3:resourceFieldRef:ResourceFieldSelector 4:mode:i!",
    "ProjectedVolume": "1:sources:[]Projection 2:defaultMode:i!",
    "Projection": "1:secret:ObjectProjection 2:downwardAPI:DownwardAPIVolume 3:configMap:ObjectProjection "
    "4:serviceAccountToken:TokenProjection",
    "ObjectProjection": "1:+:LocalObjectReference 2:items:[]KeyToPath 4:optional:?!",
    "TokenProjection": "1:audience 2:expirationSeconds:i! 3:path",
    "Toleration": "1:key 2:operator 3:value 4:effect 5:tolerationSeconds:i!",
    "HostAlias": "1:ip 2:hostnames:[]s",
    "PodDNSConfig": "1:nameservers:[]s 2:searches:[]s 3:options:[]HTTPHeader",
    "TopologySpreadConstraint": "1:maxSkew:i 2:topologyKey 3:whenUnsatisfiable 4:labelSelector:LabelSelector "
    "5:minDomains:i! 6:nodeAffinityPolicy 7:nodeTaintsPolicy 8:matchLabelKeys:[]s",
    "Affinity": "1:nodeAffinity:NodeAffinity 2:podAffinity:PodAffinity 3:podAntiAffinity:PodAffinity",
    "NodeAffinity": "1:requiredDuringSchedulingIgnoredDuringExecution:NodeSelector "
    "2:preferredDuringSchedulingIgnoredDuringExecution:[]PreferredNode",
    "NodeSelector": "1:nodeSelectorTerms:[]NodeSelectorTerm",
    "NodeSelectorTerm": "1:matchExpressions:[]LabelSelectorRequirement 2:matchFields:[]LabelSelectorRequirement",
    "PreferredNode": "1:weight:i 2:preference:NodeSelectorTerm",
    "PodAffinity": "1:requiredDuringSchedulingIgnoredDuringExecution:[]PodAffinityTerm "
    "2:preferredDuringSchedulingIgnoredDuringExecution:[]PreferredPod",
    "PodAffinityTerm": "1:labelSelector:LabelSelector 2:namespaces:[]s 3:topologyKey 4:namespaceSelector:LabelSelector "
    "5:matchLabelKeys:[]s 6:mismatchLabelKeys:[]s",
    "PreferredPod": "1:weight:i 2:podAffinityTerm:PodAffinityTerm",
    "Pod": "1:metadata:ObjectMeta 2:spec:PodSpec 3:status:Empty",
    "AggregationRule": "1:clusterRoleSelectors:[]LabelSelector",
    "Ingress": "1:metadata:ObjectMeta 2:spec:IngressSpec 3:status:Empty",
    "IngressSpec": "1:defaultBackend:IngressBackend 2:tls:[]IngressTLS 3:rules:[]IngressRule 4:ingressClassName",
    "IngressTLS": "1:hosts:[]s 2:secretName",
    "IngressRule": "1:host 2:+:IngressRuleValue",
    "IngressRuleValue": "1:http:HTTPIngressRuleValue",
    "HTTPIngressRuleValue": "1:paths:[]HTTPIngressPath",
    "HTTPIngressPath": "1:path 2:backend:IngressBackend 3:pathType",
    "IngressBackend": "3:resource:TypedReference 4:service:IngressService",
    "TypedReference": "1:apiGroup 2:kind 3:name",
    "IngressService": "1:name 2:port:IngressPort",
    "IngressPort": "1:name 2:number:i",
    "HorizontalPodAutoscaler": "1:metadata:ObjectMeta 2:spec:AutoscalerSpec 3:status:Empty",
    "autoscaling/v1.HorizontalPodAutoscaler": "1:metadata:ObjectMeta 2:spec:AutoscalerSpecV1 3:status:Empty",
    "AutoscalerSpecV1": "1:scaleTargetRef:ScaleTarget 2:minReplicas:i! 3:maxReplicas:i "
    "4:targetCPUUtilizationPercentage:i!",
    "AutoscalerSpec": "1:scaleTargetRef:ScaleTarget 2:minReplicas:i! 3:maxReplicas:i 4:metrics:[]MetricSpec",
    "ScaleTarget": "1:kind 2:name 3:apiVersion",
    "MetricSpec": "1:type 4:resource:ResourceMetric",
    "ResourceMetric": "1:name 2:target:MetricTarget",
    "MetricTarget": "1:type 2:value:q 3:averageValue:q 4:averageUtilization:i!",
    "CertificateSigningRequest": "1:metadata:ObjectMeta 2:spec:CertificateSpec 3:status:CertificateStatus",
    "CertificateSpec": "1:request:b 2:username 3:uid 4:groups:[]s 5:usages:[]s 6:extra:{}ExtraValue 7:signerName "
    "8:expirationSeconds:i!",
    "CertificateStatus": "1:conditions:[]CertificateCondition 2:certificate:b",
    "CertificateCondition": "1:type 2:reason 3:message 4:lastUpdateTime:t 5:lastTransitionTime:t 6:status",
    "ExtraValue": "1:items:[]s",
    "TokenRequest": "1:metadata:ObjectMeta 2:spec:TokenRequestSpec 3:status:Empty",
    "TokenRequestSpec": "1:audiences:[]s 3:boundObjectRef:BoundObject 4:expirationSeconds:i!",
    "BoundObject": "1:kind 2:apiVersion 3:name 4:uid",
}

SERVER_WRITTEN = frozenset({"Status", "Empty", "AccessReviewStatus", "RulesReviewStatus", "NamespaceStatus"})
"""Messages that a client cannot fill: they are read as nothing."""
